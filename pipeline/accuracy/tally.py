"""Counts of the comparison of a map with a reference, which add up over shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.accuracy.confusion import Confusion
from pipeline.accuracy.probability_sample import Drawn, keys
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.cube.layout import MISSING

CLASSES: Final = (*SEASON_NAMES, "other or either season")  # of the reference, for every cell that it knows
OTHER: Final = len(SEASON_NAMES)
UNKNOWN: Final = len(CLASSES)  # there is no reference
_N: Final = len(CLASSES) + 1
_PERCENT: Final = 101


@dataclass(frozen=True)
class CountShape:
    """The sizes of all counts, and of the samples."""

    n_labels: int
    codes: tuple[int, ...]  # of the reference's legend, ascending
    n_dates: int
    n_regions: int
    sample_size: int  # of the country
    region_sample_size: int
    seed: int


@dataclass(frozen=True)
class Cells:
    """Mapped cells of a window of the grid; every array is (n,)."""

    label: np.ndarray
    season: np.ndarray  # of the reference, 255 = not set
    code: np.ndarray  # of the reference
    share: np.ndarray  # of that code in percent, 255 = no reference there
    n_observed: np.ndarray  # dates
    region: np.ndarray  # number of the region, -1 = in none
    row: np.ndarray  # in the grid
    column: np.ndarray

    @property
    def compared(self) -> np.ndarray:
        """Whether the reference has a certain season (n,)."""
        return self.season != MISSING

    @property
    def reference(self) -> np.ndarray:
        """Number of each cell's class in `CLASSES`, `UNKNOWN` where there is no reference (n,)."""
        certain = np.where(self.compared, self.season, OTHER)
        return np.where(self.share == MISSING, UNKNOWN, certain)


@dataclass(frozen=True)
class Tally:
    """Counts of mapped cells; they add up over shards. `Compared` cells are those of a certain season."""

    joint: Confusion  # compared cells: labels by season
    kmeans: Confusion  # the same cells, labels by k-means
    by_code: Confusion  # mapped cells with a reference: labels by class of its legend
    by_share: np.ndarray  # (101, K, 2) compared cells by percent of the reference's winning code
    by_observations: np.ndarray  # (T + 1, K, 2) compared cells by number of observed dates
    by_region: np.ndarray  # (R + 1, K, 4) mapped cells by region, last outside of all, label, and class or unknown
    country: Drawn  # the sample of the country, in groups by label
    regions: Drawn  # those of the regions, in groups by region and label

    @classmethod
    def empty(cls, shape: CountShape) -> "Tally":
        """Return counts of no cells."""
        none = np.zeros(0, np.int64)
        return cls.of(Cells(none, none, none, none, none, none, none, none), none, shape)

    @classmethod
    def of(cls, cells: Cells, kmeans: np.ndarray, shape: CountShape) -> "Tally":
        """Count cells.

        Args:
            cells: that are mapped.
            kmeans: (m,) labels by k-means of the compared ones, in their order.
            shape: sizes of the counts.
        """
        k, used, reference = shape.n_labels, cells.compared, cells.reference
        label, season = cells.label[used].astype(np.int64), cells.season[used]
        known = reference != UNKNOWN
        order = np.searchsorted(shape.codes, cells.code[known])
        key = keys(shape.seed, cells.row, cells.column)
        region = cells.region.astype(np.int64)
        group = np.where(region < 0, -1, region * k + cells.label)
        return cls(
            Confusion.of(label, season, k, OTHER),
            Confusion.of(kmeans, season, k, OTHER),
            Confusion.of(cells.label[known], order, k, len(shape.codes)),
            _count((cells.share[used], label, season), (_PERCENT, k, OTHER)),
            _count((cells.n_observed[used], label, season), (shape.n_dates + 1, k, OTHER)),
            _count((region % (shape.n_regions + 1), cells.label, reference), (shape.n_regions + 1, k, _N)),
            Drawn.of(cells.label.astype(np.int64), key, reference, shape.sample_size),
            Drawn.of(group, key, reference, shape.region_sample_size),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.joint + other.joint,
            self.kmeans + other.kmeans,
            self.by_code + other.by_code,
            self.by_share + other.by_share,
            self.by_observations + other.by_observations,
            self.by_region + other.by_region,
            self.country + other.country,
            self.regions + other.regions,
        )


def _count(numbers: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Count how often each combination of whole numbers occurs, in an array of this shape."""
    flat = np.ravel_multi_index(tuple(number.astype(np.int64) for number in numbers), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
