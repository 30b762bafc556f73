"""Training and judging method after method, seed after seed; what is finished is kept and never done twice."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from model import TrainingDiverged
from model.fillings import FILLERS
from model.parameters import pretraining_steps
from model.training import state as training_state
from pipeline.accuracy.confusion import Confusion
from pipeline.base.errors import UserError
from pipeline.base.files import write_file
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.comparison.imputation import Hidden, measure
from pipeline.comparison.methods import Estimator, Method
from pipeline.config.config import Config
from pipeline.reports.comparison_table import Row
from pipeline.stages.train.progress import TrainingBar

VERSION: Final = 2
Population = Callable[[], Iterator[np.ndarray]]  # streams series (n, T, C), anew with every call


class Trial(ABC):
    """What methods are compared on: series to train on, their judge, and hidden observations to fill."""

    about: Row  # what the contest's rows begin with: the year, or the file
    facts: Row  # further columns that say what the contest is
    mark: str  # fingerprint of the data and of how they are drawn and hidden
    config: Config  # that the estimators are made from
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    population: Population | None = None  # that a target's cluster sizes are summed over, if not what is trained on

    @property
    @abstractmethod
    def series(self) -> np.ndarray:
        """What is trained on, (n, T, C)."""

    @property
    @abstractmethod
    def hidden(self) -> Hidden | None:
        """Series with hidden observations, or None where filling is not measured."""

    @abstractmethod
    def evaluate(self, estimator: Estimator) -> Confusion:
        """Labels against classes."""

    @abstractmethod
    def fill(
        self, hidden: Hidden, estimator: Estimator, method: Method, seed: int, reporter: Reporter
    ) -> np.ndarray | None:
        """The hidden series filled by a method that never saw the hidden cells; None where this seed is not measured.

        `estimator` is the one judged.
        """

    @property
    def name(self) -> str:
        """For messages."""
        return " ".join(str(value) for value in self.about.values())


class RunLog:
    """Finished rows by fingerprint, in a file of JSON lines that is replaced whole; without a file, in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, Row] = {}
        if path is not None and path.exists():
            try:
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                self._rows = {row["fingerprint"]: row for row in rows}
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(f"{path} is damaged ({error}): remove it and compare again.") from None

    def get(self, mark: str) -> Row | None:
        """A row that is finished."""
        return self._rows.get(mark)

    def keep(self, row: Row) -> None:
        """Add a row that is finished."""
        self._rows[row["fingerprint"]] = row
        if self._path is not None:
            write_file(self._path, "".join(json.dumps(one) + "\n" for one in self._rows.values()))


def run_contest(
    contest: Trial, methods: Sequence[Method], seeds: int, ledger: RunLog, reporter: Reporter
) -> tuple[list[Row], list[Row]]:
    """Train and judge each method with the seeds 0, 1, ...; fill the hidden observations in each way.

    A fit that fails is a row with its "error", and is tried again next time.

    Returns:
        A row a method and seed, and a row a plain filling.
    """
    rows = []
    for method in methods:
        for seed in range(seeds):
            mark = _mark(contest, method, seed)
            row = ledger.get(mark)
            if row is None:
                row = {"fingerprint": mark, **_attempt(contest, method, seed, reporter)}
                if row["error"] is None:
                    ledger.keep(row)
                reporter.message(_line(contest, method, row))
            rows.append(row)
    return rows, _plain_fillings(contest, ledger)


def _mark(contest: Trial, method: Method, seed: int) -> str:
    parameters = method.make(contest.config, seed).get_params()
    parameters = {name: value for name, value in parameters.items() if name not in ("device", "random_state")}
    arithmetic = training_state.FORMAT_VERSION  # raised when the same parameters train to something else
    return fingerprint_of(VERSION, arithmetic, contest.mark, method.key, parameters, seed)


def _attempt(contest: Trial, method: Method, seed: int, reporter: Reporter) -> Row:
    row: Row = {**contest.about, "method": method.key, "name": method.name, "seed": seed, "error": None} | contest.facts
    estimator = method.make(contest.config, seed)
    try:
        row["seconds"] = fit(
            estimator, contest.series, method.key, reporter, contest.population if method.has_target else None
        )
        confusion = contest.evaluate(estimator)
        hidden = contest.hidden
        filled = None if hidden is None else contest.fill(hidden, estimator, method, seed, reporter)
    except (ValueError, TrainingDiverged) as error:
        return row | {"error": f"{type(error).__name__}: {error}"}
    imputation = None if hidden is None or filled is None else measure(hidden, filled, contest.channels)
    return row | {
        "accuracy": _known(confusion.matched_accuracy()),
        "class_accuracy": dict(zip(contest.classes, map(_known, confusion.matched_class_accuracy()), strict=True)),
        "ari": _known(confusion.adjusted_rand_index()),
        "nmi": _known(confusion.normalised_mutual_information()),
        "rmse": imputation and imputation["all"]["rmse"],
        "mae": imputation and imputation["all"]["mae"],
        "n_iter": estimator.n_iter_,
        "trained_on": len(contest.series),
        "judged": confusion.n,
        "confusion": confusion.as_json(),
        "imputation": imputation,
    }


def fit(
    estimator: Estimator, series: np.ndarray, name: str, reporter: Reporter, population: Population | None = None
) -> float:
    """Train, with a bar for what is trained step by step; the seconds that it took.

    `population` streams the series over which a target's cluster sizes are summed, as the estimator's fit takes it.
    """
    parameters = estimator.get_params()
    iterations = parameters.get("n_iter", 0)
    given = {} if population is None else {"population": population}
    started = time.perf_counter()
    if iterations:
        with reporter.track(name, pretraining_steps(parameters) + iterations) as task:
            estimator.fit(series, progress=TrainingBar(task), **given)
    else:
        estimator.fit(series, **given)
    return time.perf_counter() - started


def _plain_fillings(contest: Trial, ledger: RunLog) -> list[Row]:
    """How well the plain fillings fill the same hidden observations."""
    rows = []
    for filling, fill in FILLERS.items():
        mark = fingerprint_of(VERSION, contest.mark, "filling", filling)
        row = ledger.get(mark)
        if row is None:
            hidden = contest.hidden
            if hidden is None:
                return []
            filled = fill(hidden.given, np.nanmean(hidden.given, axis=(0, 1)))
            measured = measure(hidden, filled, contest.channels)
            row = {"fingerprint": mark, **contest.about, **contest.facts, "filling": filling, "imputation": measured}
            ledger.keep(row)
        rows.append(row)
    return rows


def _line(contest: Trial, method: Method, row: Row) -> str:
    start = f"{contest.name} {method.name}, seed {row['seed']}: "
    if row["error"] is not None:
        return start + f"failed, {row['error']}"
    accuracy = "nothing to judge" if row["accuracy"] is None else f"accuracy {100 * row['accuracy']:.2f} %"
    return start + f"{accuracy}, {row['seconds']:.1f} s"


def _known(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value
