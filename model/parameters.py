"""Presets of the joint method's parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

PAPER: dict[str, Any] = {
    "start": "paper",
    "w_clu": 1.0,
    "w_gen": 1.0,
    "learning_rate": 0.01,
    "discriminator_learning_rate": 0.01,
    "adversarial_interval": 1,
    "clip_norm": 10.0,
}
STABLE: dict[str, Any] = PAPER | {"w_gen": 0.1, "discriminator_learning_rate": 0.001, "clip_norm": 1.0}
# Measured to be better than the paper's form on every data set tried. From a start as good as this one, a strong
# cluster loss only leads away: networks learn the boundary along wide directions first, wherever it is.
ROBUST: dict[str, Any] = STABLE | {
    "start": "components",
    "w_clu": 0.1,
    "learning_rate": 0.001,
    "adversarial_interval": 20,
}
PRESETS = {"paper": PAPER, "stable": STABLE, "robust": ROBUST}


def pretraining_steps(parameters: Mapping[str, Any]) -> int:
    """How many steps an estimator with these parameters reports before its joint training; 0 where it has none."""
    start = with_preset(parameters)["start"] if "preset" in parameters else "paper"
    return int(parameters["warm_up"] if start == "components" else parameters.get("pretrain_epochs", 0))


def with_preset(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, those left at None taken from the preset that they name."""
    preset = PRESETS[parameters["preset"]]
    return {name: preset.get(name) if value is None else value for name, value in parameters.items()}


@dataclass(frozen=True)
class TrainingOptions:
    """One run's options; the estimator documents each."""

    n_iter: int
    batch_size: int
    target_interval: int
    target_memory: str
    tol: float
    adversarial: str
    discriminator_input: str
    adversarial_interval: int
    masked_reconstruction: bool  # L_rec of observed cells alone
    w_rec: float
    w_pre: float
    w_clu: float
    w_gen: float
    learning_rate: float
    discriminator_learning_rate: float
    clip_norm: float


CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "start": ("paper", "components"),
    "adversarial": ("paper", "nonsaturating"),
    "discriminator_input": ("imputed", "merged"),
    "target_memory": ("assignments", "frozen"),
}
AT_LEAST_ONE = (
    "n_clusters", "n_iter", "batch_size", "target_interval", "pretrain_epochs", "hidden_size", "embedding_size",
    "latent_size", "adversarial_interval", "warm_up",
)  # fmt: skip
POSITIVE = ("learning_rate", "pretrain_learning_rate", "discriminator_learning_rate")
NOT_NEGATIVE = ("w_rec", "w_pre", "w_clu", "w_gen", "lambda_kmeans", "clip_norm", "tol")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """ValueError naming the first parameter that makes no sense, its value, and what would.

    A parameter that an estimator does not have is not asked for; None stands for the preset's value where there is one.
    """
    for name, value in parameters.items():
        if value is None and "preset" in parameters and name in PRESETS["paper"]:
            continue
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, CHOICES[name]))}")
        if name in AT_LEAST_ONE and not (_is_whole(value) and value >= 1):
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
        if name in POSITIVE and not (_is_number(value) and value > 0):
            raise ValueError(f"{name} is {value!r}; it must be a positive number")
        if name in NOT_NEGATIVE and not (_is_number(value) and value >= 0):
            raise ValueError(f"{name} is {value!r}; it must be a number of at least 0")
    seed = parameters["random_state"]
    if not (seed is None or isinstance(seed, np.random.RandomState) or (_is_whole(seed) and 0 <= seed < 2**63)):
        raise ValueError(
            f"random_state is {seed!r}; it must be None, a whole number of at least 0 or a numpy RandomState"
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    """Whether it is a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number that no float can hold
        return False


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with Python's numbers in the place of numpy's, as JSON takes them."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in parameters.items()}


def drawn_seed(random_state: int | np.random.RandomState | None) -> int | None:
    """The seed of one training: the number given, None, or one drawn from a RandomState, which moves on."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return None if random_state is None else int(random_state)


def training_options(parameters: Mapping[str, Any]) -> TrainingOptions:
    """The options of Algorithm 1: every given value as it is, those left at None from the preset."""
    complete = with_preset(parameters)
    return TrainingOptions(**{name: complete[name] for name in TrainingOptions.__dataclass_fields__})


def choose_device(name: str) -> torch.device:
    """The torch device for a name; "auto" is CUDA where torch finds it. ValueError for one this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu" or "cuda[:number]"') from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {name!r} but torch sees {torch.cuda.device_count()} CUDA devices here")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu" or "cuda[:number]"')
    return device
