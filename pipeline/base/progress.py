"""Progress of long work: events to a reporter, never prints inside loops."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_NOTE = 26  # characters beside a bar: a granule's product, date and tile; the line fits a terminal of 80


class Task(Protocol):
    """A piece of long work whose progress is shown."""

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        """Report that `steps` more are done, with `pixels` in them; show `note` beside the bar."""


class Reporter(Protocol):
    """The target of a stage's events: a terminal, a log, or nothing."""

    def message(self, text: str) -> None:
        """Show one line."""

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Show a piece of work of `total` steps, with `pixels` in all if known, while the block runs."""
        yield _NoTask()


class _NoTask:
    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        pass


class Silent:
    """The reporter that shows nothing: for tests and notebooks."""

    def message(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Show nothing."""
        yield _NoTask()


class _Rate:
    """Pixels a second of a piece of work, and the time that is left."""

    def __init__(self, total: int, pixels: int | None) -> None:
        self._started, self._total, self._all_pixels = time.monotonic(), max(total, 1), pixels
        self._steps = self._pixels = 0

    def add(self, steps: int, pixels: int) -> None:
        self._steps += steps
        self._pixels += pixels

    @property
    def share(self) -> float:
        """Share that is done: of the pixels where their number is known, else of the steps."""
        return self._pixels / self._all_pixels if self._all_pixels else self._steps / self._total

    @property
    def speed(self) -> str:
        """ "118k px/s", or nothing where no pixels are counted."""
        rate = self._pixels / max(time.monotonic() - self._started, 1e-3)
        return f"{_brief(rate)} px/s" if self._pixels else ""

    @property
    def left(self) -> str:
        """ "0:01:20", or dashes while nothing is known."""
        if self.share <= 0:
            return "-:--:--"
        seconds = (time.monotonic() - self._started) * max(0.0, 1 / self.share - 1)
        return str(timedelta(seconds=round(seconds)))


def _brief(number: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


class _BarTask:
    def __init__(self, progress: Progress, name: str, total: int, pixels: int | None) -> None:
        self._progress, self._rate = progress, _Rate(total, pixels)
        self._id = progress.add_task(name, total=total, note="", left="-:--:--")

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        self._rate.add(steps, pixels)
        text = f"{self._rate.speed} {note}".strip()
        text = text if len(text) <= _NOTE else text[: _NOTE - 1] + "…"
        self._progress.update(self._id, advance=steps, note=text, left=self._rate.left)


class Terminal:
    """The reporter for people at a terminal: rich progress bars; plain lines where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def message(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Show a bar with count, elapsed and remaining time, and pixels a second where they are counted."""
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _BarTask(progress, name, total, pixels)


class _LogTask:
    """A task that writes a log line at every tenth of the work, so that a log stays short."""

    def __init__(
        self, logger: logging.Logger | logging.LoggerAdapter[Any], name: str, total: int, pixels: int | None
    ) -> None:
        self._logger, self._name, self._total, self._done, self._said = logger, name, max(total, 1), 0, 0
        self._rate = _Rate(total, pixels)

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        self._done += steps
        self._rate.add(steps, pixels)
        tenth = 10 * self._done // self._total
        if tenth > self._said:
            self._said = tenth
            speed = f"{self._rate.speed}, " if self._rate.speed else ""
            text = "%s: %d of %d, %s%s left, %s"
            self._logger.info(text, self._name, self._done, self._total, speed, self._rate.left, note)


class Log:
    """The reporter that writes to a logger: for flows, whose logs Prefect collects."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._logger = logger

    def message(self, text: str) -> None:
        """Log one line."""
        self._logger.info("%s", text)

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Log every tenth of the work."""
        yield _LogTask(self._logger, name, total, pixels)
