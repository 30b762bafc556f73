"""Presets of the joint method's parameters."""

from collections.abc import Mapping
from typing import Any

PRESETS: dict[str, dict[str, float]] = {
    "paper": {"w_gen": 1.0, "discriminator_learning_rate": 0.01, "clip_norm": 10.0},
    "stable": {"w_gen": 0.1, "discriminator_learning_rate": 0.001, "clip_norm": 1.0},
}


def with_preset(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters, those left at None taken from the preset that they name."""
    preset = PRESETS[parameters["preset"]]
    return {name: preset.get(name) if value is None else value for name, value in parameters.items()}
