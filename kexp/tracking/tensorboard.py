"""TensorBoard: one event file per run, written with the package tensorboard alone."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from kexp.choice import choice
from kexp.errors import StoreError
from kexp.store import Record
from kexp.tracking.base import Sink, Tracker
from kexp.tracking.contents import Epoch, choices, final, place, times
from kexp.tracking.pictures import pictures

NAME = re.compile(r"events\.out\.tfevents\.(\d{10})\.kexp")
SUCCEEDED = ("finished", "pruned")


@choice
class TensorBoard(Tracker):
    """TensorBoard: curves, the table of HParams, and examples as pictures.

    `folder` null: each run has its events in its own folder `tensorboard`; else they are in
    `folder`, below the names of the study and of the run.
    """

    name: ClassVar[str] = "tensorboard"
    package: ClassVar[str] = "tensorboard"

    folder: Annotated[str, Field(min_length=1)] | None = None

    def open(self, record: Record) -> EventFile:
        """A new event file of the run, in the place of an earlier one."""
        return EventFile(self._place(place(record)), record)

    def later(self, run: Path) -> str:
        """The command that writes the events afterwards."""
        return f"kexp export tensorboard {run}" + (f" -o {self.folder}" if self.folder else "")

    def _place(self, run: Path) -> Path:
        if self.folder is None:
            return run / "tensorboard"
        return Path(self.folder).expanduser() / run.parent.name / run.name


class EventFile(Sink):
    """The events of one run. A new file begins with a mark that all before it is void."""

    def __init__(self, folder: Path, record: Record):
        if folder.is_symlink():
            raise StoreError(f"{folder} is a link, which may lead anywhere: remove it")
        folder.mkdir(parents=True, exist_ok=True)
        before = {file: int(m[1]) for file in folder.iterdir() if (m := NAME.fullmatch(file.name))}
        number = max(before.values(), default=0) + 1
        self._file = open(folder / f"events.out.tfevents.{number:010d}.kexp", "xb")
        start, _ = times(record)
        try:
            self._write(
                _event(start, file_version="brain.Event:2"),
                _event(start, session_log=_restart()),
                _event(start, summary=_hparams(record, start)),
            )
        except OSError:
            with contextlib.suppress(OSError):  # the same once more
                self.close()
            raise
        for file in before:
            with contextlib.suppress(OSError):
                file.unlink()

    def epochs(self, epochs: Sequence[Epoch]) -> None:
        """Append the values of epochs."""
        self._write(*(_event(e.at, e.number, summary=_scalars(e.values)) for e in epochs))
        self.last = epochs[-1].number

    def end(self, record: Record) -> None:
        """Append final values, pictures and how the session ended."""
        _, end = times(record)
        self._write(_event(end, self.last, summary=_scalars(final(record))))
        for name, png in pictures(record).items():
            self._write(_event(end, self.last, summary=_image(name, png)))
        if record.status.get("state") != "running":
            self._write(
                _event(end, self.last, summary=_session_end(record.status.get("state"), end))
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, *events: Any) -> None:
        """Append whole events at once, so that a reader sees no half of one."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        content = io.BytesIO()
        writer = RecordWriter(content)
        for event in events:
            writer.write(event.SerializeToString())
        self._file.write(content.getvalue())
        self._file.flush()


def _event(at: float, step: int = 0, **content: Any) -> Any:
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=at, step=step, **content)


def _restart() -> Any:
    from tensorboard.compat.proto.event_pb2 import SessionLog

    return SessionLog(status=SessionLog.START)


def _scalars(values: dict[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=k, simple_value=v) for k, v in values.items()])


def _image(name: str, png: bytes) -> Any:
    from PIL import Image
    from tensorboard.compat.proto.summary_pb2 import Summary

    with Image.open(io.BytesIO(png)) as image:
        width, height = image.size
    content = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=name, image=content)])


def _hparams(record: Record, start: float) -> Any:
    """The choices as HParams, each run by itself."""
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb

    return hparams_pb(
        choices(record),
        trial_id="/".join(place(record).parts[-2:]),
        start_time_secs=start,
    )


def _session_end(state: Any, end: float) -> Any:
    """How the session of the HParams table ended, as `tensorboard.plugins.hparams` writes it."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    status = api_pb2.STATUS_SUCCESS if state in SUCCEEDED else api_pb2.STATUS_FAILURE
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=end)
    about = metadata.create_summary_metadata(
        plugin_data_pb2.HParamsPluginData(session_end_info=info)
    )
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
