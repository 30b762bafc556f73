"""Training and evaluating method after method, seed after seed; what is finished is kept and never done twice."""

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
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.comparison.imputation import Hidden, measure
from pipeline.comparison.methods import Estimator, Method
from pipeline.config.config import Config
from pipeline.reports.comparison_rows import About, Row
from pipeline.stages.train.progress import TrainingBar

VERSION: Final = 2
Population = Callable[[], Iterator[np.ndarray]]  # yields series (n, T, C), all of them again with every call


class Trial(ABC):
    """A set of series that methods are compared on: for training, for evaluation, and hidden observations to fill."""

    about: About  # first columns of the trial's rows: the year, or the file
    facts: About  # further columns that describe the trial
    fingerprint: Fingerprint  # of the data, and of how they are drawn and hidden
    config: Config  # that the estimators are made from
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    population: Population | None = None  # for the cluster sizes of a target; None: the series that are trained on

    @property
    @abstractmethod
    def series(self) -> np.ndarray:
        """Return the series to train on, (n, T, C)."""

    @property
    @abstractmethod
    def hidden(self) -> Hidden | None:
        """Return series with hidden observations, or None where filling is not measured."""

    @abstractmethod
    def evaluate(self, estimator: Estimator) -> Confusion:
        """Count labels against classes."""

    @abstractmethod
    def fill(
        self, hidden: Hidden, estimator: Estimator, method: Method, seed: int, reporter: Reporter
    ) -> np.ndarray | None:
        """Fill the hidden series by a method that never saw the hidden cells; None where this seed is not measured.

        Args:
            hidden: the series.
            estimator: the one that was evaluated.
            method: that made it.
            seed: of the estimator.
            reporter: receives the progress.
        """

    @property
    def name(self) -> str:
        """Return the name of the trial in messages."""
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

    def get(self, fingerprint: Fingerprint) -> Row | None:
        """Return a row that is finished; None where it is not."""
        return self._rows.get(fingerprint)

    def add(self, row: Row) -> None:
        """Add a row that is finished."""
        self._rows[row["fingerprint"]] = row
        if self._path is not None:
            write_file(self._path, "".join(json.dumps(one) + "\n" for one in self._rows.values()))


def run_trial(
    trial: Trial, methods: Sequence[Method], seeds: int, log: RunLog, reporter: Reporter
) -> tuple[list[Row], list[Row]]:
    """Train and evaluate each method with the seeds 0, 1, ...; fill the hidden observations in each way.

    A fit that fails is a row with its "error", and is tried again next time.

    Returns:
        A row a method and seed, and a row a plain filling.
    """
    rows = []
    for method in methods:
        for seed in range(seeds):
            fingerprint = _fingerprint(trial, method, seed)
            row = log.get(fingerprint)
            if row is None:
                row = _attempt(trial, method, seed, fingerprint, reporter)
                if row["error"] is None:
                    log.add(row)
                reporter.message(_line(trial, method, row))
            rows.append(row)
    return rows, _plain_fillings(trial, log)


def _fingerprint(trial: Trial, method: Method, seed: int) -> Fingerprint:
    """Return the fingerprint of a fit."""
    parameters = method.make(trial.config, seed).get_params()
    parameters = {name: value for name, value in parameters.items() if name not in ("device", "random_state")}
    arithmetic = training_state.FORMAT_VERSION  # raised when the same parameters train to something else
    return fingerprint_of(VERSION, arithmetic, trial.fingerprint, method.key, parameters, seed)


def _attempt(trial: Trial, method: Method, seed: int, fingerprint: Fingerprint, reporter: Reporter) -> Row:
    """Train and evaluate one estimator."""
    row: Row = {
        "fingerprint": fingerprint,
        **trial.about,
        "method": method.key,
        "name": method.name,
        "seed": seed,
        "error": None,
        **trial.facts,
    }
    estimator = method.make(trial.config, seed)
    population = trial.population if method.has_target else None
    try:
        row["seconds"] = fit(estimator, trial.series, method.key, reporter, population)
        confusion = trial.evaluate(estimator)
        hidden = trial.hidden
        filled = None if hidden is None else trial.fill(hidden, estimator, method, seed, reporter)
    except (ValueError, TrainingDiverged) as error:
        row["error"] = f"{type(error).__name__}: {error}"
        return row
    imputation = None if hidden is None or filled is None else measure(hidden, filled, trial.channels)
    return {
        **row,
        "accuracy": _known(confusion.matched_accuracy()),
        "class_accuracy": dict(zip(trial.classes, map(_known, confusion.matched_class_accuracy()), strict=True)),
        "ari": _known(confusion.adjusted_rand_index()),
        "nmi": _known(confusion.normalised_mutual_information()),
        "rmse": None if imputation is None else imputation["all"]["rmse"],
        "mae": None if imputation is None else imputation["all"]["mae"],
        "n_iter": estimator.n_iter_,
        "trained_on": len(trial.series),
        "judged": confusion.n,
        "confusion": confusion.as_json(),
        "imputation": imputation,
    }


def fit(
    estimator: Estimator, series: np.ndarray, name: str, reporter: Reporter, population: Population | None = None
) -> float:
    """Train an estimator and return the seconds that it took.

    Args:
        estimator: to train; training step by step has a progress bar.
        series: (n, T, C), NaN = missing.
        name: of the progress bar.
        reporter: receives the progress.
        population: yields the series over which a target's cluster sizes are summed, see the estimator's `fit`.
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


def _plain_fillings(trial: Trial, log: RunLog) -> list[Row]:
    """Measure the plain fillings on the same hidden observations."""
    rows = []
    for filling, fill in FILLERS.items():
        fingerprint = fingerprint_of(VERSION, trial.fingerprint, "filling", filling)
        row = log.get(fingerprint)
        if row is None:
            hidden = trial.hidden
            if hidden is None:
                return []
            filled = fill(hidden.given, np.nanmean(hidden.given, axis=(0, 1)))
            measured = measure(hidden, filled, trial.channels)
            row = {"fingerprint": fingerprint, **trial.about, **trial.facts, "filling": filling, "imputation": measured}
            log.add(row)
        rows.append(row)
    return rows


def _line(trial: Trial, method: Method, row: Row) -> str:
    start = f"{trial.name} {method.name}, seed {row['seed']}: "
    if row["error"] is not None:
        return start + f"failed, {row['error']}"
    accuracy = "nothing to judge" if row["accuracy"] is None else f"accuracy {100 * row['accuracy']:.2f} %"
    return start + f"{accuracy}, {row['seconds']:.1f} s"


def _known(value: float) -> float | None:
    """Return a number, or None where it is NaN: JSON knows no NaN."""
    return None if math.isnan(value) else value
