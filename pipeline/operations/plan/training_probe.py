"""A probe of training: some iterations, to time all of them."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from model import JointClustering
from model.parameters import pretraining_steps, with_preset
from pipeline.runtime.executor import Event, Executor, Listener

_REPORTED: Final = 10  # iterations between two reports of training: the time of the first ones is not reported
_EPOCHS: Final = 5
_RAREST_GAME: Final = 40  # iterations between two of the adversarial game: a rarer one is not timed
_MISSING: Final = 0.3  # share of the made-up observations


@dataclass(frozen=True)
class Speed:
    """The speed of training."""

    before: float  # s a step before joint training
    joint: float  # s an iteration
    series_per_second: float  # that are assigned to clusters at a target update


def probe_training(
    executor: Executor, parameters: Mapping[str, Any], n_series: int, n_times: int, n_channels: int
) -> Speed:
    """Time some iterations on a GPU worker where there is one, else here.

    Args:
        executor: where.
        parameters: of JointClustering.
        n_series: to train on; the probe takes two batches of them at most.
        n_times: dates of a series.
        n_channels: of a series.
    """
    return executor.once(
        _TrainingProbe(parameters, _tried(parameters, n_series), n_times, n_channels),
        name="probe",
        listener=lambda event: None,
    )


def training_seconds(speed: Speed, parameters: Mapping[str, Any], n_series: int, population: int) -> float:
    """Return the seconds of a whole training.

    Args:
        speed: of training.
        parameters: of JointClustering.
        n_series: to train on.
        population: series that are assigned at every target update.
    """
    options = with_preset(parameters)
    before = pretraining_steps(parameters) * speed.before
    if options["start"] == "paper":
        before *= max(1.0, n_series / _tried(parameters, n_series))  # an epoch goes through all of them
    updates = 2 + options["n_iter"] // options["target_interval"]
    return before + options["n_iter"] * speed.joint + updates * population / speed.series_per_second


def _tried(parameters: Mapping[str, Any], n_series: int) -> int:
    """Return the number of series of the probe."""
    return int(max(parameters["n_clusters"], min(2 * parameters["batch_size"], n_series)))


@dataclass(frozen=True)
class _TrainingProbe:
    parameters: Mapping[str, Any]
    n_series: int
    n_times: int
    n_channels: int

    def __call__(self, listener: Listener) -> Speed:
        """Train on the worker."""
        options = with_preset(self.parameters)
        interval = options["adversarial_interval"]
        played = options["w_gen"] > 0 and interval <= _RAREST_GAME
        rounds = _REPORTED * (1 + (-(-interval // _REPORTED) if played else 1))
        short = {"n_iter": rounds, "warm_up": 3 * _REPORTED, "pretrain_epochs": _EPOCHS, "target_interval": rounds}
        rng = np.random.default_rng(0)
        series = rng.random((self.n_series, self.n_times, self.n_channels), np.float32)
        series[rng.random(series.shape) < _MISSING] = np.nan
        times: dict[bool, list[tuple[int, float]]] = defaultdict(list)

        def note(event: Event) -> None:
            listener(event)
            if "step" in event:
                times[event.get("phase") == "joint"].append((event["step"], time.perf_counter()))

        estimator = JointClustering(**{**self.parameters, **short, "tol": 0.0}).fit(series, progress=note)
        started = time.perf_counter()
        estimator.predict(series)
        return Speed(_between(times[False]), _between(times[True]), len(series) / (time.perf_counter() - started))


def _between(reports: list[tuple[int, float]]) -> float:
    """Return the seconds of a step, from the first report to the last; 0 with fewer than two reports."""
    if len(reports) < 2:
        return 0.0
    (first, began), (last, ended) = reports[0], reports[-1]
    return (ended - began) / (last - first)
