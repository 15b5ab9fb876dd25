"""Where the rows and pictures of a run go beside `metrics.csv`: TensorBoard always, a tracker on request."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch.utils.tensorboard.writer import SummaryWriter

from nucleiseg.progress import say

Rows = Sequence[Mapping[str, float]]
"""A row for each step: tag -> value, and the key `step`."""


class Sink(Protocol):
    """Takes what `MetricsLog` has to tell; on the first rank alone, and in the order open, log and draw, close."""

    def open(self) -> None:
        """Start, or go on where a run is resumed."""

    def log(self, rows: Rows) -> None:
        """Take rows that have just been written to `metrics.csv`."""

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Take a (H, W, 3) uint8 RGB picture."""

    def close(self, *, failed: bool) -> None:
        """End; `failed` after an exception."""


class TensorBoardSink:
    """TensorBoard's events in the run's folder.

    Its writer has a thread, which raises what went wrong there, such as a full disk, in the next call of `log` too.

    Args:
        run_dir: the run's folder.
        start_step: steps that a resumed run has done; TensorBoard forgets the later ones.
    """

    def __init__(self, run_dir: Path, start_step: int = 0) -> None:
        self.run_dir = run_dir
        self.start_step = start_step
        self._writer: SummaryWriter | None = None

    def open(self) -> None:
        """Open the events."""
        _silence_writer_threads()
        self._writer = SummaryWriter(str(self.run_dir), purge_step=self.start_step + 1)

    def log(self, rows: Rows) -> None:
        """Write a scalar for each value."""
        assert self._writer is not None
        for row in rows:
            for tag in row.keys() - {"step"}:
                self._writer.add_scalar(tag, row[tag], int(row["step"]))
        self._writer.flush()

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Write an image."""
        assert self._writer is not None
        self._writer.add_image(tag, picture, step, dataformats="HWC")

    def close(self, *, failed: bool) -> None:
        """Close the events, if they could be opened."""
        if self._writer is not None:
            self._writer.close()


def _silence_writer_threads() -> None:
    """Keep Python from printing tracebacks of TensorBoard's threads, whose errors its writer raises again."""
    earlier = threading.excepthook

    def handle(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.thread, _AsyncWriterThread):
            earlier(args)

    threading.excepthook = handle


class OptionalSink:
    """A sink that may fail without harm: its first error is told in a sentence, and it is asked no more.

    Trackers talk to a network; a training of hours must not end because a server does.

    Args:
        sink: what may fail.
        name: what the sentence calls it.
    """

    def __init__(self, sink: Sink, name: str) -> None:
        self.name = name
        self._sink: Sink | None = sink

    def open(self) -> None:
        """Open the sink."""
        self._try("open")

    def log(self, rows: Rows) -> None:
        """Hand on the rows."""
        self._try("log", rows)

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Hand on the picture."""
        self._try("draw", tag, picture, step)

    def close(self, *, failed: bool) -> None:
        """Close the sink."""
        self._try("close", failed=failed)

    def _try(self, method: str, *args: object, **keywords: object) -> None:
        if self._sink is None:
            return
        try:
            getattr(self._sink, method)(*args, **keywords)
        except Exception as error:  # whatever its library raises
            self._sink = None
            reason = error.strerror if isinstance(error, OSError) else None
            reason = reason or (str(error) or type(error).__name__).strip().splitlines()[0]
            say(
                f"Warning: {self.name} failed ({reason}) and gets no more of this run. Training continues; metrics.csv "
                "records every step."
            )
