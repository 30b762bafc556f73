"""Parameters of the estimators: presets, checks, and what follows from them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

Preset = Mapping[str, str | float]

PAPER: Preset = {
    "start": "paper",
    "w_clu": 1.0,
    "w_gen": 1.0,
    "learning_rate": 0.01,
    "discriminator_learning_rate": 0.01,
    "adversarial_interval": 1,
    "clip_norm": 10.0,
}
STABLE: Preset = {**PAPER, "w_gen": 0.1, "discriminator_learning_rate": 0.001, "clip_norm": 1.0}
# Measured to be better than the paper's form on every data set tried. From a start as good as this one a strong cluster
# loss only leads away: networks learn the boundary along wide directions first, wherever it is.
ROBUST: Preset = {
    **STABLE,
    "start": "components",
    "w_clu": 0.1,
    "learning_rate": 0.001,
    "adversarial_interval": 20,
}
PRESETS = {"paper": PAPER, "stable": STABLE, "robust": ROBUST}


def pretraining_steps(parameters: Mapping[str, Any]) -> int:
    """Count the steps that an estimator with these parameters reports before joint training; 0 without any."""
    start = with_preset(parameters)["start"] if "preset" in parameters else "paper"
    return int(parameters["warm_up"] if start == "components" else parameters.get("pretrain_epochs", 0))


def with_preset(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters; those left at None take the value of the preset that they name."""
    preset = PRESETS[parameters["preset"]]
    return {name: preset.get(name) if value is None else value for name, value in parameters.items()}


@dataclass(frozen=True)
class TrainingOptions:
    """Options of one run of Algorithm 1; the estimator documents each."""

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
    """Check the parameters of an estimator; ValueError names the first that makes no sense, its value, and what would.

    None stands for the value of the preset where there is one.
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


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # a whole number that no float can hold
        return False


def plain_parameters(parameters: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters with numbers of Python in the place of those of numpy, as JSON takes them."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in parameters.items()}


def drawn_seed(random_state: int | np.random.RandomState | None) -> int | None:
    """Return the seed of one training: the number itself, None, or one drawn from a RandomState, which moves on."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    return None if random_state is None else int(random_state)


def random_generator(seed: int | None) -> torch.Generator:
    """Return a generator of random numbers that starts from the seed; None for a seed from the operating system."""
    rng = torch.Generator()
    if seed is None:
        rng.seed()
    else:
        rng.manual_seed(int(seed))
    return rng


def training_options(parameters: Mapping[str, Any]) -> TrainingOptions:
    """Return the options of Algorithm 1; those left at None take the value of the preset."""
    complete = with_preset(parameters)
    return TrainingOptions(**{name: complete[name] for name in TrainingOptions.__dataclass_fields__})


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; "auto" is CUDA where there is one. ValueError where this machine lacks it."""
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
