"""What a run shows on its page in Prefect: progress, accuracy, the map, where report and Dask dashboard are."""

import base64
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final, TypeVar, cast
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

EVERY: Final = 5.0  # s between two updates of a bar: each is a request to the server
LARGEST_PICTURE: Final = 1_000_000  # bytes that are put into a Markdown artifact, and so into Prefect's database

Logger = logging.Logger | logging.LoggerAdapter[Any]
Given = TypeVar("Given")
_log = logging.getLogger(__name__)


class FlowReporter(Log):
    """Messages go to the run's log, where Prefect shows them; long work is a progress artifact, too."""

    def __init__(self, logger: Logger, config: Config, stage: str) -> None:
        super().__init__(logger)
        self._config, self._stage = config, stage

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None) -> Iterator[Task]:
        """Log at every tenth of the work; the bar on the run's page is renewed every few seconds."""
        key = artifact_key(self._config, self._stage if name == self._stage else f"{self._stage}-{name}")
        with super().track(name, total, pixels) as logged, _bar(key, f"{name} {self._config.year}", total) as bar:
            yield _Both(logged, bar)


class _Both:
    def __init__(self, logged: Task, bar: "_Bar") -> None:
        self._logged, self._bar = logged, bar

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        self._logged.advance(steps, note, pixels)
        self._bar.done += steps


class _Bar:
    """Steps done, counted in whatever thread they are done in."""

    def __init__(self, total: int) -> None:
        self.total, self.done = max(total, 1), 0

    @property
    def percent(self) -> float:
        return min(100.0, round(100 * self.done / self.total, 1))


@contextmanager
def _bar(key: str, description: str, total: int) -> Iterator[_Bar]:
    """A progress artifact, renewed by a thread of its own: stages report progress from event loops, too."""
    bar, ended = _Bar(total), threading.Event()
    made = _if_it_answers(lambda: create_progress_artifact(0.0, key=key, description=description))

    def renew() -> None:
        if made is not None:
            _if_it_answers(lambda: update_progress_artifact(cast(UUID, made), bar.percent))

    def keep_renewing() -> None:
        while not ended.wait(EVERY):
            renew()

    thread = threading.Thread(target=copy_context().run, args=(keep_renewing,), name="progress", daemon=True)
    thread.start()
    try:
        yield bar
    finally:
        ended.set()
        thread.join()
        renew()


def show_dashboard(config: Config, address: str | None, logger: Logger) -> None:
    """A link to the Dask dashboard, for as long as the cluster lives."""
    if address is not None:
        logger.info("Dask dashboard: %s", address)
        key = artifact_key(config, "dask-dashboard")
        _if_it_answers(lambda: create_link_artifact(address, "Dask dashboard", key=key))


def show_results(config: Config, logger: Logger) -> str:
    """What there is of the year by now: accuracy, map, report; returns a sentence for the state of the run.

    Raises:
        UserError: the file of the accuracy is damaged.
    """
    accuracy = read_accuracy(config)
    for line in accuracy_lines(accuracy):
        logger.info(line)
    if accuracy is not None:
        description = "; ".join(accuracy_lines(accuracy)) + ". " + accuracy["note"]
        table = accuracy_table(accuracy)
        _if_it_answers(
            lambda: create_table_artifact(table, key=artifact_key(config, "accuracy"), description=description)
        )
    page = config.report / "index.html"
    if not page.exists():
        return f"done; the report is written by publish, into {config.report}"
    address = page.as_uri() if isinstance(page, Path) else str(page)
    _if_it_answers(lambda: create_link_artifact(address, f"report {config.year}", key=artifact_key(config, "report")))
    text = markdown(config, accuracy)
    _if_it_answers(lambda: create_markdown_artifact(text, key=artifact_key(config, "map")))
    return f"finished: {page}"


def accuracy_table(accuracy: dict[str, Any]) -> list[dict[str, Any]]:
    """The confusion matrix, a row a label, with user's and producer's accuracy in percent."""
    rows = []
    for number, name in enumerate(accuracy["labels"]):
        row: dict[str, Any] = {"mapped as": name}
        row |= {
            f"reference {season}": accuracy["confusion"][number][at] for at, season in enumerate(accuracy["seasons"])
        }
        for kind, title in (("users_accuracy", "user's accuracy %"), ("producers_accuracy", "producer's accuracy %")):
            values = accuracy[kind]
            value = values[number] if values is not None and number < len(values) else None
            row[title] = None if value is None else round(100 * value, 2)
        rows.append(row)
    return rows


def markdown(config: Config, accuracy: dict[str, Any] | None) -> str:
    """The year in Markdown: accuracy in two lines, the map, and where the outputs are."""
    lines = [f"# {config.region.name} {config.year}", ""]
    lines += [f"- {line}" for line in accuracy_lines(accuracy)]
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
    """A key as Prefect wants them, the same for the same region and year: "italy-2018-accuracy"."""
    return re.sub(r"[^a-z0-9]+", "-", f"{config.region.name}-{config.year}-{what}".lower()).strip("-")


def _if_it_answers(call: Callable[[], Given]) -> Given | None:
    """Do what is for information only: hours of work are not lost because the server is away for a moment."""
    try:
        return call()
    except (httpx.HTTPError, PrefectException) as error:
        _log.warning("an artifact could not be kept: %s", error)
        return None
