"""Faults in data, by real means. A test's number is its row in the list of faults."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import http.server
import io
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import kexp
from kexp.cli import main
from kexp.data import Archive, Digits, Folder, Mnist, archive, mnist
from kexp.data import download as web
from kexp.data.archive import open_archive
from kexp.data.download import download
from kexp.data.images import KexpDataWarning, read_images
from kexp.errors import DataError, DataMissing, Interrupted
from kexp.losses import MsSsim
from kexp.streams import Streams
from kexp.tasks import Denoise

DATA = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
SHA256 = hashlib.sha256(DATA).hexdigest()

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
FUZZ = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        """A client that hangs up is no error here."""


@pytest.fixture
def serve(monkeypatch) -> Iterator[Callable[[Answer], str]]:
    """Starts real servers on 127.0.0.1; each gives its address."""
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(answer: Answer) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                answer(self)

            def log_message(self, format, *args):
                """Quiet."""

        server = Server(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/data.npz"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def give(data: bytes, *, length: int | None = None, status: int = 200) -> Answer:
    """An answer of `data` that announces `length` bytes."""

    def answer(request):
        request.send_response(status)
        request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        request.wfile.write(data)

    return answer


def python(code: str, *arguments: object, **options) -> subprocess.Popen:
    """Another Python process that runs `code`."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


FETCH = """
    import sys, pathlib, kexp.data.download as web
    print(web.download(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]))
"""


def small_mnist(monkeypatch, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays like MNIST's, two of each, that pass for it; then changed."""
    images, labels = np.ones((2, 28, 28), np.uint8), np.array([1, 9], np.uint8)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    monkeypatch.setattr(mnist, "SHAPES", {name: a.shape for name, a in arrays.items()})
    hashes = {name: mnist.idx_sha256(a) for name, a in arrays.items()}
    monkeypatch.setattr(mnist, "IDX_SHA256", hashes)
    return arrays | changes


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG made by hand; every row starts with a filter byte."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def picture(file: Path, mode: str = "L", **options) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise((12, 10), 50).convert(mode).save(file, **options)
    return file


def read(*files: Path, colour="grey") -> list[np.ndarray]:
    return read_images(files, colour)


def load(path: Path):
    return Folder(path=str(path)).load(path)


# 15 Truncated npz


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99, -1])
def test_f15_a_truncated_npz_is_named_and_to_be_fetched_again(tmp_path, monkeypatch, keep):
    np.savez_compressed(tmp_path / "mnist.npz", **small_mnist(monkeypatch))
    whole = (tmp_path / "mnist.npz").read_bytes()
    (tmp_path / "mnist.npz").write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    for data in (Mnist(), Archive(train="mnist.npz")):
        with pytest.raises(DataError, match=r"mnist\.npz is damaged.*fetch the file again"):
            data.load(tmp_path)


@FUZZ
@given(data=st.binary(max_size=300) | st.binary(max_size=300).map(lambda b: b"PK\x03\x04" + b))
def test_f15_random_bytes_are_never_an_npz(tmp_path, data):
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(DataError):
        open_archive(tmp_path / "x.npz")


@FUZZ
@given(places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1))
def test_f15_changed_bytes_give_arrays_or_a_data_error(tmp_path, places):
    file = io.BytesIO()
    np.savez(file, a=np.zeros((3, 4), np.uint8), b=np.arange(5))
    data = bytearray(file.getvalue())
    for place, change in places:
        data[place % len(data)] ^= change
    (tmp_path / "x.npz").write_bytes(data)
    with contextlib.suppress(DataError):
        assert all(isinstance(a, np.ndarray) for a in open_archive(tmp_path / "x.npz").values())


def test_f15_an_npy_file_is_no_npz(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match="no npz"):
        open_archive(tmp_path / "x.npz")


# 16 Wrong checksum


def test_f16_a_wrong_checksum_is_refused_and_not_cached(tmp_path, serve):
    url = serve(give(DATA[:-1] + b"?"))
    with pytest.raises(DataError, match="wrong checksum.*not kept") as caught:
        download(url, tmp_path / "data.npz", SHA256)
    assert not isinstance(caught.value, DataMissing)
    assert list(tmp_path.iterdir()) == []


def test_f16_the_right_checksum_is_kept_and_nothing_printed(tmp_path, serve, capfd):
    target = tmp_path / "new" / "folder" / "data.npz"
    assert download(serve(give(DATA)), target, SHA256) == target
    assert target.read_bytes() == DATA
    assert list(target.parent.iterdir()) == [target]
    (tmp_path / "plain").touch()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert capfd.readouterr() == ("", "")


def test_f16_other_pixels_are_not_mnist(tmp_path, monkeypatch):
    other = np.zeros((2, 28, 28), np.uint8)
    np.savez(tmp_path / "mnist.npz", **small_mnist(monkeypatch, x_test=other))
    with pytest.raises(DataError, match="x_test is not the real MNIST .SHA-256.*expected.*remove"):
        Mnist().load(tmp_path)


# 17 Pickled npz


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "executed")


@pytest.mark.parametrize("data", [Mnist(), Archive(train="mnist.npz")])
def test_f17_a_pickled_npz_is_refused_and_its_payload_not_executed(tmp_path, data):
    marker = tmp_path / "marker"
    payload = np.array([Payload(marker)], object)
    np.savez(tmp_path / "mnist.npz", x_train=payload, fine=np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"pickled objects.*never loads: x_train"):
        data.load(tmp_path)
    assert not marker.exists()
    with np.load(tmp_path / "mnist.npz", allow_pickle=True) as loaded:
        loaded["x_train"]
    assert marker.exists()  # the payload would have worked


def test_f17_a_bare_pickle_is_refused_too(tmp_path):
    marker = tmp_path / "marker"
    (tmp_path / "x.npz").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(DataError, match="no npz"):
        open_archive(tmp_path / "x.npz")
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as file:
        file.writestr("x_train", pickle.dumps(Payload(marker)))
    with pytest.raises(DataError):
        open_archive(tmp_path / "y.npz")
    assert not marker.exists()


# 18 HTML instead of data

PAGE = b"\n<!DOCTYPE html><html><body>Please log in to the hotel's network</body></html>"


@pytest.mark.parametrize(
    "page",
    [
        PAGE,
        b"\xef\xbb\xbf" + PAGE,
        b"<!-- hotel --><html>log in</html>",
        b"<body>log in</body>",
        b" " * 2000 + b"<TITLE>log in</TITLE>",
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    ],
)
def test_f18_a_web_page_instead_of_data_is_told(tmp_path, serve, page):
    with pytest.raises(DataMissing, match=r"web page \(HTML\), not data"):
        download(serve(give(page)), tmp_path / "data.npz", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_f18_a_web_page_on_disk_is_told(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(PAGE)
    with pytest.raises(DataError, match=r"mnist\.npz is a web page \(HTML\), not data"):
        Mnist().load(tmp_path)


# 19 Missing array, wrong shape, labels out of range


def test_f19_a_missing_array_is_named(tmp_path, monkeypatch):
    arrays = small_mnist(monkeypatch)
    del arrays["y_test"]
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(DataError, match="holds no array 'y_test'"):
        Mnist().load(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x_train", np.ones((2, 784), np.uint8), r"x_train should be uint8 .*28.*uint8.*784"),
        ("x_test", np.ones((2, 28, 28)), "x_test should be uint8 .* got float64"),
        ("y_train", np.array([1, 10], np.uint8), "y_train should be labels 0 to 9, got .* 10"),
        ("y_test", np.array([1, -1], np.int64), "y_test should be uint8 .* got int64"),
        ("y_test", np.array([[1], [9]], np.uint8), r"y_test should be uint8 .* got .*\(2, 1\)"),
    ],
)
def test_f19_what_was_expected_is_told(tmp_path, monkeypatch, name, array, message):
    np.savez(tmp_path / "mnist.npz", **small_mnist(monkeypatch, **{name: array}))
    with pytest.raises(DataError, match=message):
        Mnist().load(tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"x": np.zeros((3, 4))},
        {"x": np.zeros((0, 4, 4), np.uint8)},
        {"x": np.zeros((3, 0, 4), np.uint8)},
        {"x": np.zeros((2, 4, 4, 4), np.uint8)},
        {"x": np.zeros((4, 4), np.uint8), "y": np.zeros((1, 4, 4, 3), np.uint8)},
    ],
)
def test_f19_an_archive_without_usable_images_says_what_it_takes(tmp_path, arrays):
    np.savez(tmp_path / "train400.npz", **arrays)
    with pytest.raises(DataError, match=r"holds .*images.*expected uint8 arrays \(h, w\)"):
        Archive().load(tmp_path)


def test_f19_grey_and_colour_are_not_mixed(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 4, 4), np.uint8))
    np.savez(tmp_path / "b.npz", x=np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="one of a.npz and b.npz is grey, the other in colour"):
        Archive(train="a.npz", test="b.npz").load(tmp_path)


# 20 Kill in the middle of a download, 21 two downloads at once


def test_f20_a_kill_in_the_middle_leaves_nothing_at_the_final_name(tmp_path, serve):
    sent, over = threading.Event(), threading.Event()

    def half(request):
        give(DATA[: len(DATA) // 2], length=len(DATA))(request)
        sent.set()
        over.wait(30)

    target = tmp_path / "data.npz"
    process = python(FETCH, serve(half), target, SHA256)
    assert sent.wait(30)
    wait_for(lambda: sum(file.stat().st_size for file in tmp_path.iterdir()) > 0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    over.set()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    download(serve(give(DATA)), target, SHA256)
    assert target.read_bytes() == DATA


FETCH_EACH = """
    import os, pathlib, sys, warnings, kexp.data.download as web
    warnings.simplefilter("ignore")
    for url in sys.stdin:
        pid = os.fork()
        if not pid:
            web.download(url.strip(), pathlib.Path(sys.argv[1]), sys.argv[2])
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="each download is a process of its own")
def test_f20_killed_at_many_moments(tmp_path, serve):
    """After so many bytes; the last time all have come, but not yet the end."""
    target, count, over = tmp_path / "data.npz", [0], threading.Event()
    sent = threading.Event()

    def some(request):
        request.send_response(200)
        request.end_headers()
        request.wfile.write(DATA[: count[0]])
        sent.set()
        over.wait(30)

    url = serve(some)
    process = python(FETCH_EACH, target, SHA256, stdin=subprocess.PIPE)
    assert process.stdin and process.stdout
    for count[0] in (0, 1, 1000, 65_535, 65_536, 65_537, 131_073, len(DATA) - 1, len(DATA)):
        sent.clear()
        print(url, file=process.stdin, flush=True)
        pid = int(process.stdout.readline())
        assert sent.wait(30)
        wait_for(lambda: part_size(tmp_path) >= count[0] - 2**14)  # the rest is in buffers
        os.kill(pid, signal.SIGKILL)
        assert int(process.stdout.readline()) == -signal.SIGKILL
        assert not target.exists()
    over.set()
    assert process.communicate(serve(give(DATA)))[0].endswith("\n0\n")
    assert target.read_bytes() == DATA


def part_size(folder: Path) -> int:
    """How much of its file a process that downloads has written: the largest there is."""
    return max((file.stat().st_size for file in folder.iterdir()), default=0)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_f21_two_downloads_at_once_give_one_valid_file(tmp_path, serve):
    both = threading.Barrier(2)

    def together(request):
        both.wait(30)
        middle = len(DATA) // 2
        give(DATA[:middle], length=len(DATA))(request)
        both.wait(30)
        request.wfile.write(DATA[middle:])

    url, target = serve(together), tmp_path / "data.npz"
    processes = [python(FETCH, url, target, SHA256) for _ in range(2)]
    for process in processes:
        assert process.communicate() == (f"{target}\n", "")
        assert process.returncode == 0
    assert target.read_bytes() == DATA
    assert list(tmp_path.iterdir()) == [target]


# 22 Offline, and a network that does not work


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/mnist.npz"


def test_f22_offline_says_where_it_looked_how_to_place_it_and_what_is_embedded(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(mnist, "URL", closed_port())
    monkeypatch.setattr(mnist, "download", download)  # which fuzzing takes away for good
    with pytest.raises(DataMissing) as caught:
        Mnist().fetch(tmp_path / "data")
    message = str(caught.value)
    for part in (
        str(tmp_path / "data" / "mnist.npz"),
        str(tmp_path / "keras" / "datasets" / "mnist.npz"),
        "connection refused",
        "KEXP_DATA_DIR",
        "data=digits",
    ):
        assert part in message
    assert "Errno" not in message and "\n" not in message
    assert list(tmp_path.iterdir()) == []


def test_f22_no_name_server_is_told_shortly(tmp_path, monkeypatch):
    def offline(*args, **options):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    with pytest.raises(DataMissing, match=r"^http://nowhere.invalid/x: the server's name cannot"):
        download("http://nowhere.invalid/x", tmp_path / "data.npz", SHA256)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_f22_an_http_error_is_told(tmp_path, serve, status):
    with pytest.raises(DataMissing, match=f"the server answered {status} [A-Z]"):
        download(serve(give(PAGE, status=status)), tmp_path / "data.npz", SHA256)


@pytest.mark.parametrize("length", [0, 1, 1000, len(DATA) - 1])
def test_f22_an_answer_cut_short_is_told(tmp_path, serve, length):
    with pytest.raises(DataMissing, match="cut short after .* of 300,000 bytes"):
        download(serve(give(DATA[:length], length=len(DATA))), tmp_path / "data.npz", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_f22_a_chunked_answer_cut_short_is_told(tmp_path, serve):
    def answer(request):
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"1000\r\n" + DATA[:100])
        request.close_connection = True

    with pytest.raises(DataMissing, match="cut short"):
        download(serve(answer), tmp_path / "data.npz", SHA256)


def test_f22_a_server_that_hangs_up_is_told(tmp_path, serve):
    with pytest.raises(DataMissing, match="hung up without an answer"):
        download(serve(lambda request: None), tmp_path / "data.npz", SHA256)


@pytest.mark.parametrize("sent", [None, 0, 1000])
def test_f22_a_silent_server_is_given_up(tmp_path, serve, monkeypatch, sent):
    over = threading.Event()

    def answer(request):
        if sent is not None:
            give(DATA[:sent], length=len(DATA))(request)
        over.wait(30)

    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(DataMissing, match=r"no answer within 0\.3 s"):
        download(serve(answer), tmp_path / "data.npz", SHA256)
    over.set()
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def test_f22_a_server_that_trickles_is_given_up(tmp_path, serve, monkeypatch):
    def answer(request):
        give(b"", length=len(DATA))(request)
        for i in range(600):
            request.wfile.write(DATA[i : i + 1])
            time.sleep(0.05)

    monkeypatch.setattr(web, "TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(DataMissing, match="slower than 10 kB/s, given up"):
        download(serve(answer), tmp_path / "data.npz", SHA256)
    assert time.monotonic() - began < 5
    assert list(tmp_path.iterdir()) == []


def odd(head: str, body: bytes = b"") -> Answer:
    """An answer whose first lines are these."""
    return lambda request: request.wfile.write(head.replace("\n", "\r\n").encode() + body)


OK = "HTTP/1.1 200 OK\n"
MOVED = "HTTP/1.1 302 Found\nLocation: "


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (give(b""), "gave an empty file"),
        (odd(OK + "\n"), "gave an empty file"),
        (odd("HTTP/1.1 204 No Content\n\n"), "the server answered 204 No Content"),
        (give(DATA[:100], status=206), "the server answered 206 Partial Content"),
        (odd("HTTP/1.1 203 \x1b[2J\n\n"), r"the server answered 203 \\x1b\[2J$"),
        (odd(MOVED + "file:///etc/hostname\n\n"), "'file:///etc/hostname' is not allowed"),
        (odd(MOVED + "data:,x\n\n"), "is not allowed"),
        (odd(MOVED + "/data.npz\n\n"), "the server redirects in a circle"),
        (odd("HTTP/1.1 302 Found\n\n"), "the server answered 302 Found"),
        (odd("HTTP/1.1 500 \x1b[2J\n\n"), r"the server answered 500 \\x1b\[2J$"),
        (odd("hello\n\n"), "BadStatusLine: hello"),
        (odd(OK + "X: y\n" * 200 + "\n"), "more than 100 headers"),
        (odd(OK + "X: " + "y" * 70_000 + "\n\n"), "LineTooLong"),
        (odd(OK + "Content-Length: " + "9" * 30 + "\n\n", DATA), "cut short after 300,000 of 999"),
        (odd(OK + "Transfer-Encoding: chunked\n\n-5\n", b"abc"), "cut short"),
    ],
)
def test_f22_odd_answers_are_told(tmp_path, serve, answer, said):
    with pytest.raises(DataMissing, match=said) as caught:
        download(serve(answer), tmp_path / "data.npz", SHA256)
    assert str(caught.value).strip().isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # urllib's, of the first answer
def test_f22_a_redirection_to_what_is_no_url_is_told(tmp_path, serve):
    with pytest.raises(DataMissing, match="Invalid IPv6 URL"):
        download(serve(odd(MOVED + "http://[::1/x\n\n")), tmp_path / "data.npz", SHA256)
    gc.collect()


@pytest.mark.parametrize(
    "answer",
    [
        odd(OK + "Content-Encoding: gzip\n\n", zlib.compress(DATA, wbits=31)),
        odd(OK + "Content-Length: 100\n\n", DATA),
        odd(OK + "Content-Type: application/json\n\n", b'{"error": "quota"}'),
    ],
)
def test_f16_odd_answers_are_not_kept(tmp_path, serve, answer):
    with pytest.raises(DataError, match="wrong checksum, which was not kept"):
        download(serve(answer), tmp_path / "data.npz", SHA256)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [len(DATA), -5, "abc"])
def test_f16_odd_lengths_do_no_harm(tmp_path, serve, length):
    """What counts is the checksum: one byte more than announced is never read."""
    answer = odd(OK + f"Content-Length: {length}\n\n", DATA + b"?" * (length == len(DATA)))
    assert download(serve(answer), tmp_path / "data.npz", SHA256).read_bytes() == DATA


def test_f22_a_redirection_to_another_server_is_followed(tmp_path, serve):
    moved = odd(MOVED + serve(give(DATA)) + "\n\n")
    assert download(serve(moved), tmp_path / "data.npz", SHA256).read_bytes() == DATA


def test_f20_what_a_killed_download_left_is_cleared_a_day_later(tmp_path, serve):
    old, new = tmp_path / ".data.npz.1.part", tmp_path / ".data.npz.2.part"
    for part in (old, new):
        part.write_bytes(DATA[:100])
    os.utime(old, (0, 0))
    download(serve(give(DATA)), tmp_path / "data.npz", SHA256)
    assert sorted(tmp_path.iterdir()) == [new, tmp_path / "data.npz"]


def test_a_disk_that_cannot_be_written_is_told(tmp_path, serve):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot write .*data.npz") as caught:
        download(serve(give(DATA)), tmp_path / "file" / "data.npz", SHA256)
    assert not isinstance(caught.value, DataMissing)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(tmp_path, serve):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="cannot write .*data.npz: Permission denied"):
        download(serve(give(DATA)), tmp_path / "data.npz", SHA256)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, serve):
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    """
    process = python(
        textwrap.dedent(code) + textwrap.dedent(FETCH),
        serve(give(DATA)),
        tmp_path / "data.npz",
        SHA256,
    )
    _, shown = process.communicate()
    assert "DataError: cannot write" in shown and "File too large" in shown
    assert list(tmp_path.iterdir()) == []


# 23 Archive with `..`, symlink


def test_f23_names_in_an_archive_never_become_paths(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    names = ["../../outside", "/outside", "..\\outside", "a/../../outside"]
    np.savez(folder / "x.npz", **dict.fromkeys(names, np.zeros((3, 3), np.uint8)))
    assert Archive(train="x.npz").load(folder).train.names == names
    link = zipfile.ZipInfo("link.npy")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "y.npz", "w") as file:
        file.writestr(link, "../../outside")
    with pytest.raises(DataError):
        Archive(train="y.npz").load(folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "x.npz", "y.npz"]


def test_f23_archives_are_never_unpacked(tmp_path):
    """Neither where a data file is expected nor beside images."""
    member = tarfile.TarInfo("../outside")
    member.size = 3
    links = [tarfile.TarInfo(f"link{kind!r}") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    for link, kind in zip(links, (tarfile.SYMTYPE, tarfile.LNKTYPE), strict=True):
        link.type, link.linkname = kind, "../../outside"
    picture(tmp_path / "data" / "a.png")
    with tarfile.open(tmp_path / "data" / "x.tar.gz", "w:gz") as file:
        file.addfile(member, io.BytesIO(b"abc"))
        for link in links:
            file.addfile(link)
    with zipfile.ZipFile(tmp_path / "data" / "x.zip", "w") as file:
        file.writestr("../outside", "abc")
    before = sorted(tmp_path.rglob("*"))
    for name in ("x.tar.gz", "x.zip"):
        with pytest.raises(DataError, match="no npz"):
            Archive(train=name).load(tmp_path / "data")
    with pytest.warns(KexpDataWarning, match="2 files that are no images skipped"):
        assert load(tmp_path / "data").train.names == ["a.png"]
    assert sorted(tmp_path.rglob("*")) == before


def test_f23_nothing_in_kexp_unpacks_archives():
    sources = [file.read_text() for file in Path(kexp.__file__).parent.rglob("*.py")]
    assert len(sources) > 100
    for call in ("tarfile", "extractall", ".extract(", "unpack_archive"):
        assert not [text for text in sources if call in text], call


# 24 Text, empty or truncated image


def test_f24_all_unreadable_images_are_named_at_once(tmp_path):
    good = picture(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.gif").write_bytes(PAGE)
    for ending in ("png", "jpg", "tiff", "webp", "bmp"):
        whole = picture(tmp_path / f"cut.{ending}").read_bytes()
        (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "colour.png").write_bytes(good.read_bytes()[:-40])
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    lines = str(caught.value).splitlines()
    assert lines[0] == "10 of 11 images cannot be used; mend or remove them:"
    named = {Path(line.split("'")[1]).name: line for line in lines[1:]}
    assert named.keys() == {file.name for file in tmp_path.iterdir()} - {"good.png"}
    assert named["text.png"].endswith("is not an image")
    assert named["empty.jpg"].endswith("is empty")
    assert named["dangling.png"].endswith("is not a file")
    assert "damaged or cut short" in named["cut.jpg"]


@FUZZ
@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"P5 ", b"RIFF"]),
)
def test_f24_random_bytes_give_an_image_or_a_data_error(tmp_path, data, start):
    (tmp_path / "x.png").write_bytes(start + data)
    with contextlib.suppress(DataError), warnings.catch_warnings():
        warnings.simplefilter("ignore", KexpDataWarning)
        assert read(tmp_path / "x.png")[0].dtype == np.uint8


@FUZZ
@given(
    ending=st.sampled_from(["png", "gif", "tiff", "jpg", "bmp", "webp", "pgm"]),
    places=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1),
)
def test_f24_changed_bytes_give_an_image_or_a_data_error(tmp_path, ending, places):
    file = tmp_path / f"x.{ending}"
    data = bytearray(picture(file).read_bytes())
    for place, change in places:
        data[place % len(data)] ^= change
    file.write_bytes(data)
    with contextlib.suppress(DataError), warnings.catch_warnings():
        warnings.simplefilter("ignore", KexpDataWarning)
        assert read(file)[0].dtype == np.uint8


def test_a_signal_is_not_taken_for_a_damaged_file(tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise Interrupted(signal.SIGTERM)

    np.savez(tmp_path / "x.npz", x=np.zeros(3))
    monkeypatch.setattr(Image, "open", interrupt)
    monkeypatch.setattr(zipfile, "ZipFile", interrupt)
    with pytest.raises(Interrupted):
        read(picture(tmp_path / "x.png"))
    with pytest.raises(Interrupted):
        open_archive(tmp_path / "x.npz")


# 25 RGBA, CMYK, 16 bits


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "RGB"])
def test_f25_transparency_is_laid_on_white_with_a_warning(tmp_path, mode):
    black = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    black.putpixel((1, 0), (0, 0, 0, 0))
    black.putpixel((2, 0), (0, 0, 0, 128))
    if mode == "P":
        black = Image.new("P", (3, 1))
        black.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2])
        black.putdata([0, 1, 2])
        black.save(tmp_path / "x.png", transparency=bytes([255, 0, 128]))
    elif mode in ("L", "RGB"):
        black = Image.new("RGB", (3, 1))
        black.putpixel((1, 0), (9, 9, 9))
        clear = 9 if mode == "L" else (9, 9, 9)
        black.convert(mode).save(tmp_path / "x.png", transparency=clear)
    else:
        black.convert(mode).save(tmp_path / "x.png")
    with pytest.warns(KexpDataWarning, match="1 images with transparency, laid on white: .*x.png"):
        pixels = read(tmp_path / "x.png")[0][0, :, 0].tolist()
    assert pixels[:2] == [0, 255]
    assert pixels[2] in ((0,) if mode in ("L", "RGB") else (127, 128))


def test_f25_cmyk_becomes_rgb_with_a_warning(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=95)
    with pytest.warns(KexpDataWarning, match="1 images in CMYK, converted to RGB"):
        pixel = read(tmp_path / "x.jpg", colour="rgb")[0][4, 4]
    assert np.abs(pixel.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("ending", ["png", "tiff", "pgm"])
def test_f25_sixteen_bits_are_scaled_never_cut(tmp_path, ending):
    values = np.array([[0, 128, 129, 255, 256, 257, 4660, 32768, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"x.{ending}")
    with pytest.warns(KexpDataWarning, match="1 images of 16 bits, divided by 257 and rounded"):
        pixels = read(tmp_path / f"x.{ending}")[0][..., 0]
    assert pixels.tolist() == np.round(values / 257).astype(int).tolist()


def test_f25_sixteen_bits_in_colour_keep_the_high_ones(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (20, 30, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "x.png").write_bytes(png(30, 20, 16, 2, rows))
    (tmp_path / "x.ppm").write_bytes(b"P6 30 20 65535\n" + values.astype(">u2").tobytes())
    with pytest.warns(KexpDataWarning, match="2 images of 16 bits a channel, reduced"):
        found = read(tmp_path / "x.png", tmp_path / "x.ppm", colour="rgb")
    for pixels in found:
        assert np.abs(pixels - values / 257).max() <= 1


@pytest.mark.parametrize("value", [-1, 65536])
def test_f25_integers_of_unknown_range_are_refused(tmp_path, value):
    Image.fromarray(np.array([[0, value]], np.int32)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match=f"integers from .*{value}.*expected 0 to 65535"):
        read(tmp_path / "x.tiff")


def test_f25_floating_point_is_refused(tmp_path):
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match="floating-point pixels of unknown range"):
        read(tmp_path / "x.tiff")


# 26 Images smaller than the patch


def check(data, folder: Path, patch: int) -> None:
    """What a run does with its data before it trains."""
    splits = data.split(data.load(folder), Streams(0))
    Denoise(patch=patch).check_splits(splits, 1)


def side_by_side(root: Path, sides: dict[str, tuple[int, int]]) -> Path:
    """A folder of noise in these sizes (width, height)."""
    for name, size in sides.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 50).save(root / name)
    return root


def test_f26_all_images_that_are_too_small_are_named_with_the_minimum(tmp_path):
    sides = {f"{part}/big.png": (40, 40) for part in ("train", "val", "test")}
    sides |= {"train/flat.png": (80, 15), "train/thin.png": (15, 80), "train/just.png": (16, 16)}
    sides |= {"val/ten.png": (10, 30), "val/eleven.png": (11, 11), "test/one\nline.png": (1, 1)}
    root = side_by_side(tmp_path / "images", sides)
    with pytest.raises(DataError) as caught:
        check(Folder(path=str(root)), root, patch=16)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("4 images are too small") and "task.patch" in first
    patch, window = "at least 16×16 (a patch, task.patch=16)", "at least 11×11 (the window of SSIM)"
    assert sorted(lines) == [
        rf"  test 'test/one\nline.png': 1×1 pixels, needed {window}",
        f"  train 'train/flat.png': 15×80 pixels, needed {patch}",
        f"  train 'train/thin.png': 80×15 pixels, needed {patch}",
        f"  validation 'val/ten.png': 30×10 pixels, needed {window}",
    ]


def test_f26_images_of_the_smallest_size_are_fine(tmp_path):
    sides = {"train/a.png": (16, 16), "val/b.png": (11, 11), "test/c.png": (11, 11)}
    root = side_by_side(tmp_path / "images", sides)
    check(Folder(path=str(root)), root, patch=16)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_f26_in_an_archive_too(tmp_path, split):
    """Whatever split the one small image gets into."""
    images = {f"i{n}": np.full((20, 20), n, np.uint8) for n in range(8)}
    np.savez(tmp_path / "x.npz", **images)
    data = Archive(train="x.npz", validation_size=2, test_size=2)
    part = getattr(data.split(data.load(tmp_path), Streams(0)), split)
    np.savez(tmp_path / "x.npz", **images | {part.names[0]: np.zeros((9, 20), np.uint8)})
    with pytest.raises(DataError, match=rf"1 images .*\n  {split} '{part.names[0]}': 9×20 pixels"):
        check(data, tmp_path, patch=11)


def test_f26_many_images_are_not_all_named(tmp_path):
    data = Digits(side=20)
    with pytest.raises(DataError) as caught:
        Denoise(patch=30).check_splits(data.split(data.load(tmp_path), Streams(0)), 1)
    first, *lines = str(caught.value).splitlines()
    assert first.startswith("1079 images are too small") and len(lines) == 21
    assert lines[-1] == "  … and 1059 more"


def test_f26_images_too_small_for_the_loss_or_the_model(tmp_path):
    """Of whole images, not of patches alone."""
    sides = {"train/a.png": (64, 64), "val/b.png": (30, 30), "test/c.png": (64, 64)}
    root = side_by_side(tmp_path / "images", sides)
    data = Folder(path=str(root))
    splits = data.split(data.load(tmp_path), Streams(0))
    task = Denoise(patch=48)
    task.check_loss(splits, MsSsim(scales=2))
    with pytest.raises(DataError, match=r"needs images of 44×44 .* image val/b.png, side=30; rem"):
        task.check_loss(splits, MsSsim(scales=3))
    with pytest.raises(DataError, match="task.patch=48 is too small .* patches of 64×64"):
        task.check_splits(splits, 64)
    with pytest.raises(DataError, match="validation 'val/b.png': 30×30 pixels, needed at least 32"):
        task.check_splits(splits, 32)


@pytest.mark.slow
def test_f26_told_by_the_command_before_training(tmp_path, capsys):
    root = side_by_side(tmp_path / "images", {f"{n}.png": (12, 30 + n) for n in range(8)})
    words = ["data=folder", f"data.path={root}", f"paths.results={tmp_path / 'results'}"]
    assert main(["run", "task=denoise", *words]) == 1
    said = capsys.readouterr()
    assert "are too small" in said.err and "12 pixels, needed at least 40×40" in said.err
    assert "Traceback" not in said.err and "epoch" not in said.out
    (status,) = (tmp_path / "results").rglob("status.json")
    assert '"failed"' in status.read_text() and "too small" in status.read_text()


# 27 Animations


@pytest.mark.parametrize("ending", ["gif", "png", "tiff", "webp"])
def test_f27_of_an_animation_the_first_frame_is_used_and_that_is_told(tmp_path, ending):
    frames = [Image.new("L", (8, 8), level) for level in (40, 120, 200)]
    options = {"lossless": True} if ending == "webp" else {}
    file = tmp_path / f"x.{ending}"
    frames[0].save(file, save_all=True, append_images=frames[1:], **options)
    with pytest.warns(KexpDataWarning, match="1 images with several frames.* the first is used"):
        assert (read(file)[0] == 40).all()


# 28 Decompression bombs

BOUNDED = """
    import pathlib, resource, sys
    import kexp.data as data, kexp.data.images as images
    from kexp.errors import DataError
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 60_000_000,) * 2)
    try:
        images.read_images([pathlib.Path(name) for name in sys.argv[1:]], "grey")
        print("read")
    except DataError as error:
        print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_f28_a_bomb_is_refused_from_its_header_in_bounded_memory(tmp_path):
    side = 20_000
    row = b"\0" + bytes(side // 8)
    (tmp_path / "bomb.png").write_bytes(png(side, side, 1, 0, row * side))
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    shown, errors = python(BOUNDED, tmp_path / "bomb.png").communicate()
    assert errors == ""
    assert "bomb.png': is a decompression bomb" in shown


WEBP = (
    b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0e\x00\x00\x00/\xfe\xbf\xff\x0f\x07\x10\x11\xfd\x0fDD\xff\x03"
)
"""A whole image of 16383 × 16383 black pixels, the most that there can be."""


def claims(side: int) -> dict[str, bytes]:
    """Small files of every format that say they are of side × side pixels."""
    jpeg = io.BytesIO()
    Image.new("L", (16, 16)).save(jpeg, "JPEG")
    start, _, rest = jpeg.getvalue().partition(b"\xff\xc0")
    tags = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: side**2}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    frame = struct.pack("<HHHH", 0, 0, side, side) + b"\0\2\2L\1\0;"
    bitmap = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    return {
        "png": png(side, side, 8, 0, b""),
        "jpg": start + b"\xff\xc0" + rest[:3] + struct.pack(">HH", side, side) + rest[7:],
        "gif": b"GIF89a" + struct.pack("<HH", 8, 8) + b"\x80\0\0" + bytes(6) + b"," + frame,
        "tiff": b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4),
        "bmp": b"BM" + struct.pack("<IHHI", 1078, 0, 0, 1078) + bitmap + bytes(1024) + b"\xff\0",
        "webp": WEBP,
        "pgm": b"P5 %d %d 255\n" % (side, side),
        "ppm": b"P6 %d %d 65535\n" % (side, side),
        "pbm": b"P1 %d %d\n1" % (side, side),
    }


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_f28_bombs_of_every_format_are_refused_in_bounded_memory(tmp_path):
    bombs = {tmp_path / f"bomb.{ending}": data for ending, data in claims(30_000).items()}
    assert {file.suffix for file in bombs} >= {".png", ".jpg", ".gif", ".tiff", ".bmp", ".webp"}
    for file, data in bombs.items():
        assert len(data) < 2000
        file.write_bytes(data)
    shown, errors = python(BOUNDED, *bombs).communicate()
    assert errors == ""
    for file in bombs:
        assert f"{file.name}': is a decompression bomb" in shown, file.name


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"IDAT"])
def test_f28_what_a_png_unpacks_besides_its_pixels_is_bounded(tmp_path, kind):
    """A colour profile, a text or rows too many, of 100 MB."""
    whole = png(8, 8, 8, 0, bytes(72))
    packed = zlib.compress(bytes(100_000_000), 1)
    body = packed if kind == b"IDAT" else b"x\0\0" + packed
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    tail = whole[33:] if kind != b"IDAT" else whole[-12:]
    (tmp_path / "x.png").write_bytes(whole[:33] + chunk + tail)
    shown, errors = python(BOUNDED, tmp_path / "x.png").communicate()
    assert errors == "" and ("too large" in shown or shown == "read\n")


def test_f28_memory_that_is_not_there_is_told(tmp_path, monkeypatch):
    def scarce(*args, **options):
        raise MemoryError

    monkeypatch.setattr(Image, "open", scarce)
    with pytest.raises(DataError, match="does not fit into memory"):
        read(picture(tmp_path / "x.png"))


@pytest.mark.parametrize(("width", "height"), [(10_001, 10_000), (2**31 - 1, 2**31 - 1)])
def test_f28_the_limit_holds_between_pillows_own(tmp_path, width, height):
    (tmp_path / "bomb.png").write_bytes(png(width, height, 8, 0, b""))
    with pytest.raises(DataError, match="100,000,000"):
        read(tmp_path / "bomb.png")


def test_f28_an_npz_that_claims_too_much_is_refused_from_its_headers(tmp_path):
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (2, 1 << 20, 1 << 10)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
        for name in "abc":
            file.writestr(f"{name}.npy", header.getvalue() + bytes(1_000_000))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"x\.npz claims 6 GiB of arrays, more than the 4 GiB"):
        open_archive(tmp_path / "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_f28_a_limit_cannot_be_cheated_by_negative_sizes_or_long_headers(tmp_path, monkeypatch):
    def member(version: bytes, header: bytes) -> bytes:
        size = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
        return b"\x93NUMPY" + version + size + header

    text = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 1048576), }"
    for headers in (
        [member(b"\1\0", text % 5000), member(b"\1\0", text % -5000)],
        [member(b"\2\0", (text % 1) + b" " * 20_000_000)],
    ):
        with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as file:
            for number, header in enumerate(headers):
                file.writestr(f"{number}.npy", header)
        tracemalloc.start()
        with pytest.raises(DataError):
            open_archive(tmp_path / "x.npz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000
    assert archive.MAX_BYTES == 4 * 2**30


# 29 Symlinks that leave the folder


def test_f29_symlinks_that_leave_the_folder_are_refused_by_name(tmp_path):
    outside = picture(tmp_path / "mine too" / "secret.png")  # "mine" is a prefix of its name
    root = tmp_path / "mine"
    picture(root / "a" / "1.png")
    (root / "a" / "absolute.png").symlink_to(outside)
    (root / "a" / "relative.png").symlink_to("../../mine too/secret.png")
    (root / "folder").symlink_to(outside.parent)
    with pytest.raises(DataError, match="symlinks that leave .*mine' are not followed") as caught:
        load(root)
    for name in ("a/absolute.png", "a/relative.png", "folder"):
        assert repr(name) in str(caught.value)


def test_f29_symlinks_inside_the_folder_are_followed(tmp_path):
    root = tmp_path / "real"
    picture(root / "a.png")
    (root / "b.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to(root)
    assert load(tmp_path / "link").train.names == ["a.png", "b.png"]


def test_f29_symlinks_in_a_circle_end(tmp_path):
    picture(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    with pytest.warns(KexpDataWarning, match="1 folders below a class folder skipped"):
        assert load(tmp_path).train.names == ["a/1.png"]
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match=r"self\.png': is not a file"), warnings.catch_warnings():
        warnings.simplefilter("ignore", KexpDataWarning)
        load(tmp_path)


# 30 What is skipped is counted


def test_f30_what_is_no_image_is_skipped_and_counted(tmp_path):
    picture(tmp_path / "a" / "1.png")
    picture(tmp_path / "beside.png")
    for name in (".DS_Store", "a/._1.png", "a/.hidden.png", "a/notes.txt", "a/archive.npz"):
        (tmp_path / name).write_text("no image")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "a" / "deeper").mkdir()
    with pytest.warns(KexpDataWarning) as caught:
        assert load(tmp_path).train.names == ["a/1.png"]
    shown = "\n".join(str(warning.message) for warning in caught)
    assert "5 hidden files or folders skipped in " in shown
    assert "2 files that are no images skipped in " in shown
    assert "1 images beside class folders skipped in " in shown
    assert "1 folders below a class folder skipped in " in shown
    assert "'a/notes.txt'" in shown


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_f30_a_named_pipe_is_not_waited_for(tmp_path):
    picture(tmp_path / "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png': is not a file"):
        load(tmp_path)


# 31 Empty folder or class


def test_f31_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"no images in .*\(0 other entries skipped\).*\.png"):
        load(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError, match=r"no images in .*\(1 other entries skipped\)"):
        load(tmp_path)


def test_f31_empty_classes_and_splits_are_all_named(tmp_path):
    picture(tmp_path / "train" / "a" / "1.png")
    (tmp_path / "train" / "b").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="no images in .*/test', .*/train/b'"):
        load(tmp_path)


# 32 Odd names


def test_f32_unicode_spaces_and_newlines_in_names_work(tmp_path):
    names = ["a b.png", "line\nbreak.png", "quote'.png", "été 東京 🙂.png", "%s {x} [y].png"]
    for name in names:
        picture(tmp_path / "class\nñ ö" / name)
    whole = load(tmp_path)
    assert whole.classes == ["class\nñ ö"]
    assert whole.train.names == [f"class\nñ ö/{name}" for name in sorted(names)]
    (tmp_path / "class\nñ ö" / "line\nbreak.png").write_text("damaged")
    with pytest.raises(DataError, match=r"1 of 5") as caught:
        load(tmp_path)
    assert len(str(caught.value).splitlines()) == 2
    assert r"line\nbreak.png" in str(caught.value)
