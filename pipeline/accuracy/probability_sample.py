"""A stratified random sample of cells that is the same whatever the shards, the workers and their order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BITS = 32  # of a row or column


def keys(seed: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return pseudo-random numbers (n,) uint64 of cells; no two cells of a grid have the same.

    Args:
        seed: of the sample.
        rows: (n,) of the cells in their grid.
        columns: (n,)
    """
    place = (rows.astype(np.uint64) << np.uint64(_BITS)) | columns.astype(np.uint64)
    return _mixed(place ^ _mixed(np.array([seed % 2**64], np.uint64)))


def _mixed(value: np.ndarray) -> np.ndarray:
    """Permute the numbers of 64 bits by the finaliser of SplitMix64 (Steele et al. 2014)."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = value ^ (value >> np.uint64(31))
    return mixed


@dataclass(frozen=True)
class Drawn:
    """Samples of groups of cells: those with the smallest keys, so that samples of parts of a country can be added."""

    size: int  # most cells of a group
    group: np.ndarray  # (n,) int64, ascending
    key: np.ndarray  # (n,) uint64, ascending in every group
    value: np.ndarray  # (n,) uint8, the value of each cell

    @classmethod
    def of(cls, group: np.ndarray, key: np.ndarray, value: np.ndarray, size: int) -> "Drawn":
        """Draw up to `size` cells of every group.

        Args:
            group: (n,) number of each cell's group; cells of negative ones belong to none.
            key: (n,), see `keys`.
            value: (n,) from 0 to 255.
            size: most cells of a group.
        """
        inside = group >= 0
        group, key, value = group[inside].astype(np.int64), key[inside], value[inside].astype(np.uint8)
        order = np.lexsort((key, group))
        group = group[order]
        starts = np.flatnonzero(np.diff(group, prepend=-1))
        rank = np.arange(len(group)) - np.repeat(starts, np.diff(starts, append=len(group)))
        kept = rank < size
        chosen = order[kept]
        return cls(size, group[kept], key[chosen], value[chosen])

    @classmethod
    def empty(cls, size: int) -> "Drawn":
        """Return a sample without cells."""
        return cls(size, np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint8))

    def __add__(self, other: "Drawn") -> "Drawn":
        return Drawn.of(
            np.concatenate([self.group, other.group]),
            np.concatenate([self.key, other.key]),
            np.concatenate([self.value, other.value]),
            self.size,
        )

    def values(self, group: int, n: int) -> np.ndarray:
        """Return the values of the first `n` drawn cells of a group, fewer where it has fewer."""
        start, stop = np.searchsorted(self.group, (group, group + 1))
        return self.value[start:stop][:n]


def allocate(available: Sequence[int], total: int) -> list[int]:
    """Allocate a sample to strata: equally, and what small strata cannot take goes to the others.

    Args:
        available: cells of every stratum.
        total: cells to sample; all there are if those are fewer.
    """
    given, left = [0] * len(available), total
    smallest_first = sorted(range(len(available)), key=lambda k: available[k])
    for place, k in enumerate(smallest_first):
        given[k] = min(available[k], left // (len(available) - place))
        left -= given[k]
    return given
