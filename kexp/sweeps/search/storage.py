"""Where Optuna keeps a search: a SQLite file, a journal, or a database."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import (
    JournalFileBackend,
    JournalFileOpenLock,
    JournalFileSymlinkLock,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from kexp.errors import ConfigError, StoreError

JOURNAL = "journal:"
BUSY_SECONDS = 60.0
"""How long SQLite waits for another process to finish writing."""

PAUSES = (0.2, 1.0, 5.0)
"""Seconds before a storage that has failed is tried again."""

T = TypeVar("T")


def address(given: str | None, folder: Path) -> str:
    """The storage as it is opened, wherever the process works; by default a file in `folder`."""
    if given is None:
        return _sqlite(folder / "search.db")
    if given.startswith(JOURNAL):
        return f"{JOURNAL}{Path(given.removeprefix(JOURNAL)).expanduser().resolve()}"
    if "://" not in given:
        raise ConfigError(
            f"hydra.sweeper.storage={given}: write {JOURNAL}PATH, or a URL as sqlite:///PATH or "
            "postgresql://USER@HOST/DATABASE"
        )
    path = file_of(given)
    return _sqlite(path) if path else given


def _sqlite(path: Path) -> str:
    return URL.create("sqlite", database=str(path.resolve())).render_as_string()


def file_of(url: str) -> Path | None:
    """The file that a storage is; None for a database elsewhere."""
    if url.startswith(JOURNAL):
        return Path(url.removeprefix(JOURNAL))
    with contextlib.suppress(ArgumentError):
        known = make_url(url)
        if known.drivername == "sqlite" and known.database and not known.query:
            return Path(known.database).resolve()
    return None


def shown(url: str) -> str:
    """The storage for people to read, without a password."""
    if path := file_of(url):
        return str(path)
    with contextlib.suppress(Exception):
        return make_url(url).render_as_string(hide_password=True)
    return url.split("://")[0] + "://…"


@contextlib.contextmanager
def opened(url: str, new: bool = True) -> Iterator[BaseStorage]:
    """The storage, made if it is new and may be. Optuna says nothing of its own meanwhile.

    Raises `StoreError`, or `ConfigError` where a package is missing or the URL is none.
    """
    with _silent():
        storage = _open(url, new)
        try:
            yield storage
        except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
            raise StoreError(
                f"the storage of the search, {shown(url)}, has failed: {_reason(error)}; the same "
                "command goes on from there"
            ) from error
        finally:
            if isinstance(storage, RDBStorage):
                storage.remove_session()
                storage.engine.dispose()


def _open(url: str, new: bool) -> BaseStorage:
    path = file_of(url)
    try:
        if path and new:
            path.parent.mkdir(parents=True, exist_ok=True)
        if url.startswith(JOURNAL):
            lock = JournalFileOpenLock if os.name == "nt" else JournalFileSymlinkLock
            return JournalStorage(JournalFileBackend(str(path), lock_obj=lock(str(path))))
        waiting: dict[str, Any] = {}
        if url.startswith("sqlite"):
            waiting = {"connect_args": {"timeout": BUSY_SECONDS}}
        text = url.replace("{", "{{").replace("}", "}}")
        return patiently(lambda: RDBStorage(text, waiting, skip_table_creation=not new))
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error
        raise ConfigError(
            f"hydra.sweeper.storage={shown(url)} needs a package more: pip install {missing}"
        ) from None
    except Exception as error:
        raise StoreError(_unusable(url, error)) from error


def _unusable(url: str, error: Exception) -> str:
    return (
        f"the search cannot be kept in {shown(url)}: {_reason(error)}; choose another place with "
        "paths.results=DIR or hydra.sweeper.storage"
    )


def _reason(error: Exception) -> str:
    """The first line of what went wrong, without the statement of a database."""
    cause = getattr(error, "orig", None) or getattr(error.__cause__, "orig", None) or error
    return str(cause).strip().split("\n")[0]


def patiently(do: Callable[[], T]) -> T:
    """What `do` gives; where it fails, as a busy database may, it is tried again a few times."""
    for pause in PAUSES:
        try:
            return do()
        except (ImportError, ArgumentError, OSError):
            raise
        except Exception as error:
            if type(error) is DatabaseError:  # a file that is no database, not a busy one
                raise
            time.sleep(pause)
    return do()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Inside, Optuna logs nothing."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def how_to_load(url: str, name: str) -> str:
    """The Python that gives the Optuna study."""
    if url.startswith(JOURNAL):
        backend = f"optuna.storages.journal.JournalFileBackend({str(file_of(url))!r})"
        storage = f"optuna.storages.JournalStorage({backend})"
    else:
        storage = repr(url if file_of(url) else shown(url))
    return f"optuna.load_study(study_name={name!r}, storage={storage})"
