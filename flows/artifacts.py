"""The page of a run in Prefect: progress, accuracy, the map, addresses of the report and the Dask dashboard."""

import base64
import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final, TypedDict, TypeVar, cast
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from pipeline.base.files import read_bytes
from pipeline.base.locations import Location
from pipeline.base.progress import Log, Task
from pipeline.config.config import Config
from pipeline.stages.evaluate import accuracy_lines, read_accuracy

EVERY: Final = 5.0  # s between two updates of a progress bar: each is a request to the server
LARGEST_PICTURE: Final = 1_000_000  # bytes of a picture in a Markdown artifact, which is stored in Prefect's database

Logger = logging.Logger | logging.LoggerAdapter[Any]
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


class Accuracy(TypedDict):
    """Figures of `report/accuracy.json` that are shown, by label and season; shares from 0 to 1."""

    labels: list[str]
    seasons: list[str]
    confusion: list[list[int]]  # (label, season)
    users_accuracy: list[float | None] | None
    producers_accuracy: list[float | None] | None


class FlowReporter(Log):
    """Reporter that writes messages to the run's log in Prefect, and shows long work as a progress artifact."""

    def __init__(self, logger: Logger, config: Config, stage: str) -> None:
        super().__init__(logger)
        self._config, self._stage = config, stage

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Log every tenth of the work, and update the bar on the run's page every few seconds."""
        key = artifact_key(self._config, self._stage if name == self._stage else f"{self._stage}-{name}")
        with super().track(name, total, pixels) as logged, _bar(key, f"{name} {self._config.year}", total) as bar:
            yield _Both(logged, bar)


class _Both:
    """Progress of one task in the log and on the page."""

    def __init__(self, logged: Task, bar: "_Bar") -> None:
        self._logged, self._bar = logged, bar

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        self._logged.advance(steps, note, pixels)
        self._bar.done += steps


class _Bar:
    """Number of steps done, counted from any thread."""

    def __init__(self, total: int) -> None:
        self.total, self.done = max(total, 1), 0

    @property
    def percent(self) -> float:
        return min(100.0, round(100 * self.done / self.total, 1))


@contextmanager
def _bar(key: str, description: str, total: int) -> Iterator[_Bar]:
    """Show a progress artifact, which a thread updates: stages also report from event loops, which must not wait."""
    bar, ended = _Bar(total), threading.Event()
    artifact = _if_it_answers(lambda: create_progress_artifact(0.0, key=key, description=description))

    def update() -> None:
        if artifact is not None:
            _if_it_answers(lambda: update_progress_artifact(cast(UUID, artifact), bar.percent))

    def keep_updating() -> None:
        while not ended.wait(EVERY):
            update()

    thread = threading.Thread(target=copy_context().run, args=(keep_updating,), name="progress", daemon=True)
    thread.start()
    try:
        yield bar
    finally:
        ended.set()
        thread.join()
        update()


def show_dashboard(config: Config, address: str | None, logger: Logger) -> None:
    """Show a link to the Dask dashboard, which answers as long as the cluster runs."""
    if address is not None:
        logger.info("Dask dashboard: %s", address)
        key = artifact_key(config, "dask-dashboard")
        _if_it_answers(lambda: create_link_artifact(address, "Dask dashboard", key=key))


def show_results(config: Config, logger: Logger) -> str:
    """Show those results of the year that exist: accuracy, map, report.

    Returns:
        A sentence for the state of the run.

    Raises:
        UserError: the file of the accuracy is damaged.
    """
    accuracy = read_accuracy(config)
    lines = accuracy_lines(accuracy)
    for line in lines:
        logger.info(line)
    if accuracy is not None:
        description = "; ".join(lines) + ". " + accuracy["note"]
        table = accuracy_table(cast(Accuracy, accuracy))
        _if_it_answers(
            lambda: create_table_artifact(table, key=artifact_key(config, "accuracy"), description=description)
        )
    page = config.report / "index.html"
    if not page.exists():
        return f"done; the report is written by publish, into {config.report}"
    address = page.as_uri() if isinstance(page, Path) else str(page)
    _if_it_answers(lambda: create_link_artifact(address, f"report {config.year}", key=artifact_key(config, "report")))
    text = markdown(config, lines)
    _if_it_answers(lambda: create_markdown_artifact(text, key=artifact_key(config, "map")))
    return f"finished: {page}"


def accuracy_table(accuracy: Accuracy) -> list[dict[str, Any]]:
    """Return the confusion matrix, a row for each label, with user's and producer's accuracy in percent."""
    rows = []
    of_users, of_producers = accuracy["users_accuracy"], accuracy["producers_accuracy"]
    for number, name in enumerate(accuracy["labels"]):
        counts = zip(accuracy["seasons"], accuracy["confusion"][number], strict=True)
        row: dict[str, Any] = {"mapped as": name} | {f"reference {season}": count for season, count in counts}
        for title, values in (("user's accuracy %", of_users), ("producer's accuracy %", of_producers)):
            value = values[number] if values is not None and number < len(values) else None
            row[title] = None if value is None else round(100 * value, 2)
        rows.append(row)
    return rows


def markdown(config: Config, accuracy: Sequence[str]) -> str:
    """Return the year in Markdown: the lines of its accuracy, the map, and the paths of the outputs."""
    lines = [f"# {config.region.name} {config.year}", ""]
    lines += [f"- {line}" for line in accuracy]
    lines += ["", *_picture(config.report / "map.png"), ""]
    outputs = (config.map, config.cube, config.clusters, config.products, config.report / "index.html")
    return "\n".join([*lines, *(f"- `{path}`" for path in outputs), ""])


def _picture(path: Location) -> list[str]:
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        return []
    if len(content) > LARGEST_PICTURE:
        return [f"The map is in `{path}`."]
    return [f"![map](data:image/png;base64,{base64.b64encode(content).decode()})"]


def artifact_key(config: Config, what: str) -> str:
    """Return a key that Prefect accepts, the same for the same region and year: "italy-2018-accuracy"."""
    return re.sub(r"[^a-z0-9]+", "-", f"{config.region.name}-{config.year}-{what}".lower()).strip("-")


def _if_it_answers(call: Callable[[], Answer]) -> Answer | None:
    """Call Prefect for information only: hours of work are not lost because its server does not answer."""
    try:
        return call()
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("an artifact could not be kept: %s", error)
        return None
