"""Parameters of the estimator: presets, and what values make sense."""

from collections.abc import Mapping
from typing import Any

import torch

from model.training import TrainingOptions

PRESETS: dict[str, dict[str, float]] = {
    "paper": {"w_gen": 1.0, "discriminator_learning_rate": 0.01, "clip_norm": 10.0},
    "stable": {"w_gen": 0.1, "discriminator_learning_rate": 0.001, "clip_norm": 1.0},
}
CHOICES: dict[str, tuple[str, ...]] = {
    "preset": tuple(PRESETS),
    "adversarial": ("paper", "nonsaturating"),
    "discriminator_input": ("imputed", "merged"),
    "target_memory": ("assignments", "frozen"),
}
AT_LEAST_ONE = (
    "n_clusters", "n_iter", "batch_size", "target_interval", "pretrain_epochs", "hidden_size", "embedding_size",
    "adversarial_interval",
)  # fmt: skip
POSITIVE = ("learning_rate", "pretrain_learning_rate", "discriminator_learning_rate")
NOT_NEGATIVE = ("w_rec", "w_pre", "w_clu", "w_gen", "clip_norm", "tol")


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """ValueError naming the first parameter that makes no sense, its value, and what would."""
    for name, choices in CHOICES.items():
        if parameters[name] not in choices:
            raise ValueError(f"{name} is {parameters[name]!r}; it must be one of {', '.join(map(repr, choices))}")
    for name in AT_LEAST_ONE:
        value = parameters[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1")
    for name in (*POSITIVE, *NOT_NEGATIVE):
        value = parameters[name]
        if value is None and name in PRESETS["paper"]:
            continue
        if not isinstance(value, int | float) or not 0 <= value < float("inf") or (value == 0 and name in POSITIVE):
            raise ValueError(
                f"{name} is {value!r}; it must be a {'positive number' if name in POSITIVE else 'number of at least 0'}"
            )
    seed = parameters["random_state"]
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise ValueError(f"random_state is {seed!r}; it must be None or a whole number of at least 0")


def training_options(parameters: Mapping[str, Any]) -> TrainingOptions:
    """The options of Algorithm 1: every given value as it is, those left at None from the preset."""
    preset = PRESETS[parameters["preset"]]
    given: dict[str, Any] = {name: parameters[name] for name in TrainingOptions.__dataclass_fields__}
    given.update({name: preset[name] for name, value in given.items() if value is None})
    return TrainingOptions(**given)


def choose_device(name: str) -> torch.device:
    """The torch device for a name; "auto" is CUDA where torch finds it. ValueError for one this machine lacks."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu" or "cuda[:number]"') from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {name!r} but torch sees {torch.cuda.device_count()} CUDA devices here")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f'device is {name!r}; it must be "auto", "cpu" or "cuda[:number]"')
    return device
