"""The methods that are compared, and how each is made from the configuration."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np

import model
from model.filled_kmeans import FilledKMeans
from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.stages.train.stage import make_estimator


class Estimator(Protocol):
    """The estimator of a method; series are (n, T, C), NaN = missing."""

    labels_: np.ndarray  # (n,) of the series that it was trained on
    n_iter_: int

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""

    @property
    def fit(self) -> Callable[..., Any]:
        """Return the method that trains: fit(X, progress=...), with population=... where there is a target."""

    def predict(self, X: Any) -> np.ndarray:
        """Return labels (n,)."""

    def impute(self, X: Any) -> np.ndarray:
        """Return the series without gaps."""


@dataclass(frozen=True)
class Method:
    """A method: one row of the table."""

    key: str  # on the command line and in files
    name: str
    make: Callable[[Config, int], Estimator]  # from configuration and seed
    network: bool  # whether a network fills the gaps, not a plain filling
    has_target: bool = False  # whether it is trained towards a target distribution


def with_training(config: Config, **changes: Any) -> Config:
    """Return the configuration with other values under [training]."""
    return config.model_copy(update={"training": config.training.model_copy(update=changes)})


def _joint(config: Config, seed: int) -> Estimator:
    return make_estimator(config.model_copy(update={"seed": seed}))


def _joint_w0(config: Config, seed: int) -> Estimator:
    return _joint(with_training(config, w_gen=0.0), seed)


def _mean_dec(config: Config, seed: int) -> Estimator:
    """Make it with all parameters of the configuration that both have; what the preset decides is the paper's here."""
    common = model.MeanDEC().get_params()
    joint = _joint(config, seed).get_params()
    return model.MeanDEC(**{name: value for name, value in joint.items() if name in common and value is not None})


def _crli(config: Config, seed: int) -> Estimator:
    """Make it with its own number of iterations, unless one is configured: its training is another one."""
    training = config.training
    estimator = model.CRLI(n_clusters=training.clusters, device=training.device, random_state=seed)
    if "iterations" in training.model_fields_set:
        estimator.set_params(n_iter=training.iterations)
    return estimator


def _kmeans(filling: str) -> Callable[[Config, int], Estimator]:
    return lambda config, seed: FilledKMeans(config.training.clusters, filling=filling, random_state=seed)


METHODS: Final[dict[str, Method]] = {
    method.key: method
    for method in (
        Method("joint", "joint", _joint, True, True),
        Method("joint-w0", "joint, no discriminator", _joint_w0, True, True),
        Method("mean-dec", "mean + DEC", _mean_dec, False, True),
        Method("crli", "CRLI + k-means", _crli, True),
        Method("kmeans-mean", "k-means, filled by the mean", _kmeans("mean"), False),
        Method("kmeans-linear", "k-means, filled linearly", _kmeans("linear"), False),
    )
}
DEFAULT: Final = ("joint", "joint-w0", "mean-dec", "crli")


def choose_methods(keys: Iterable[str]) -> list[Method]:
    """Return methods by key, each once; without any, the paper's three and the joint one without discriminator.

    Raises:
        UserError: there is none of that name.
    """
    chosen = list(dict.fromkeys(keys)) or list(DEFAULT)
    for key in chosen:
        if key not in METHODS:
            raise UserError(f"unknown method {key!r}: choose from {', '.join(METHODS)}.")
    return [METHODS[key] for key in chosen]
