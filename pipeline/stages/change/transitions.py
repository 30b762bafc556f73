"""Transitions between the labels of two years: their codes, names, and confidence; plain arrays."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pipeline.cube.layout import MISSING

MOST_LABELS: Final = 15  # so that every transition has a code below 255
SCALE: Final = 10_000  # of a product of two percentages: a probability of 1 is 10,000


def transition_codes(first: np.ndarray, second: np.ndarray, n_labels: int) -> np.ndarray:
    """Return the code of every cell, uint8: K i + j from label i to label j, K K and K K + 1 mapped in one year only.

    Args:
        first: labels of the earlier year, uint8, 255 = not mapped.
        second: labels of the later year, of the same shape.
        n_labels: number K of labels, 15 at most.

    Returns:
        Array of the same shape; 255 where neither year is mapped.
    """
    of_first, of_second = first != MISSING, second != MISSING
    codes = np.full(first.shape, MISSING, np.uint8)
    both = of_first & of_second
    codes[both] = first[both] * np.uint8(n_labels) + second[both]
    codes[of_first & ~of_second] = n_labels**2
    codes[of_second & ~of_first] = n_labels**2 + 1
    return codes


def transition_names(names: Sequence[str], years: tuple[int, int]) -> tuple[str, ...]:
    """Return a name without blanks for every code but 255, in their order: persistent_winter, winter_to_summer, ..."""
    of_both = [f"persistent_{i}" if i == j else f"{i}_to_{j}" for i in names for j in names]
    return (*of_both, *(f"only_{year}" for year in years))


def both_right(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the probability that both labels of a cell are right, in 1/10,000 (int32), if they err independently.

    Args:
        first: confidence q of the earlier label, percent, uint8.
        second: confidence of the later label.
    """
    return first.astype(np.int32) * second
