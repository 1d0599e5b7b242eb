"""One file from the web: verified, placed whole or not at all, and never waited for in vain.

On urllib rather than pooch, whose downloader waits without end for a server that trickles, says
neither HTML nor cut short, leaves a file that only its owner can read, and logs to the terminal.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import http
import http.client
import itertools
import os
import socket
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Generator, Iterable
from pathlib import Path
from urllib.request import HTTPRedirectHandler

from kexp.errors import DataError, DataMissing, spelled

TIMEOUT = 15.0
"""Longest wait for a connection and for the next bytes, in seconds."""

SLOWEST = 10_000
"""Fewest bytes per second, on average, once `TIMEOUT` has passed."""

ABANDONED = 24 * 3600.0
"""Seconds after which nobody is writing a partial download any more."""


def download(url: str, target: Path, sha256: str) -> Path:
    """Fetch `url` to `target` if its SHA-256 is right; `target` appears whole or not at all.

    `DataMissing`, with a short reason, where the data cannot be had from there; `DataError` for
    a wrong checksum and for a disk that cannot be written.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    _clear_old_parts(target)
    with contextlib.closing(_receive(url)) as chunks:
        start = next(chunks, b"")  # no folder is made for a server that does not answer
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _verify(part, _write(part, itertools.chain([start], chunks)), url, sha256)
            os.replace(part, target)
        except OSError as error:
            raise DataError(f"cannot write {target}: {error.strerror or error}") from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
    return target


def _clear_old_parts(target: Path) -> None:
    """Remove what downloads of `target` left behind that were killed, a day ago or more."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED:
                part.unlink()


def is_html(path: Path) -> bool:
    """Whether the file is a web page, which servers and hotels give in place of data.

    No data that kexp reads begin with a tag, or with a mark of UTF-8 before one.
    """
    with path.open("rb") as file:
        return file.read(4096).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<")


def _write(part: Path, chunks: Iterable[bytes]) -> str:
    """Write the chunks to a new file; their SHA-256."""
    digest = hashlib.sha256()
    with part.open("xb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _verify(part: Path, found: str, url: str, expected: str) -> None:
    if found == expected:
        return
    if is_html(part):
        raise DataMissing(f"{url} gave a web page (HTML), not data")
    if not part.stat().st_size:
        raise DataMissing(f"{url} gave an empty file")
    raise DataError(
        f"{url} gave a file with the wrong checksum, which was not kept: "
        f"SHA-256 {found}, expected {expected}"
    )


def _receive(url: str) -> Generator[bytes, None, None]:
    """The bytes at `url` as they arrive; every fault of the network becomes `DataMissing`."""
    received, began = 0, time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            if answer.status != http.HTTPStatus.OK:
                said = f"{answer.status} {spelled(answer.reason)}"
                raise DataMissing(f"{url}: the server answered {said}")
            expected = answer.length
            while received != expected and (chunk := answer.read1(1 << 16)):
                received += len(chunk)
                waited = time.monotonic() - began
                if waited > TIMEOUT and received < SLOWEST * waited:
                    raise DataMissing(f"{url}: slower than {SLOWEST / 1000:g} kB/s, given up")
                yield chunk
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataMissing(f"{url}: {_reason(error)}") from error
    if expected not in (None, received):
        raise DataMissing(f"{url}: cut short after {received:,} of {expected:,} bytes")


def _reason(error: Exception) -> str:
    """What went wrong on the network, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.reason.startswith(HTTPRedirectHandler.inf_msg):
            return "the server redirects in a circle"
        return f"the server answered {error.code} {spelled(error.reason)}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    reasons = {
        TimeoutError: f"no answer within {TIMEOUT:g} s",
        ConnectionRefusedError: "connection refused",
        socket.gaierror: "the server's name cannot be resolved (no network?)",
        ssl.SSLCertVerificationError: "the server's certificate cannot be verified",
        http.client.RemoteDisconnected: "cut short: the server hung up without an answer",
        http.client.IncompleteRead: "cut short",
        ConnectionResetError: "cut short: connection reset",
    }
    for kind, reason in reasons.items():
        if isinstance(cause, kind):
            return reason
    return getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
