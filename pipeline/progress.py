"""How a stage tells what it is doing: events to a reporter, never prints inside loops."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_NOTE = 26  # characters beside a bar: a granule's product, date and tile; the line fits a terminal of 80


class Task(Protocol):
    """A piece of long work that is being shown."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Report that `steps` more are done; `note` is shown beside the bar."""


class Reporter(Protocol):
    """Where a stage's events go: a terminal, a log, or nowhere."""

    def message(self, text: str) -> None:
        """Say one line."""

    @contextmanager
    def track(self, name: str, total: int) -> Iterator[Task]:
        """Show a piece of work of `total` steps while the block runs."""
        yield _NoTask()


class _NoTask:
    def advance(self, steps: int = 1, note: str = "") -> None:
        pass


class Silent:
    """Reports nothing: for tests and notebooks."""

    def message(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def track(self, name: str, total: int) -> Iterator[Task]:
        """Show nothing."""
        yield _NoTask()


class _BarTask:
    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._id = progress.add_task(name, total=total, note="")

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._progress.update(self._id, advance=steps, note=note if len(note) <= _NOTE else note[: _NOTE - 1] + "…")


class Terminal:
    """Rich progress bars, for people at a terminal; plain lines where the output is no terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)

    def message(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def track(self, name: str, total: int) -> Iterator[Task]:
        """Show a bar with count, elapsed and remaining time."""
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.console) as progress:
            yield _BarTask(progress, name, total)


class _LogTask:
    """Logs at every tenth of the work, so that a log stays short."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any], name: str, total: int) -> None:
        self._logger, self._name, self._total, self._done, self._said = logger, name, max(total, 1), 0, 0

    def advance(self, steps: int = 1, note: str = "") -> None:
        self._done += steps
        tenth = 10 * self._done // self._total
        if tenth > self._said:
            self._said = tenth
            self._logger.info("%s: %d of %d %s", self._name, self._done, self._total, note)


class Log:
    """Lines in a logger: for flows, whose logs Prefect collects."""

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._logger = logger

    def message(self, text: str) -> None:
        """Log one line."""
        self._logger.info("%s", text)

    @contextmanager
    def track(self, name: str, total: int) -> Iterator[Task]:
        """Log at every tenth of the work."""
        yield _LogTask(self._logger, name, total)
