"""Average the observations of a shard onto its cells, date by date."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.base.channel import Channel
from pipeline.cube.layout import MISSING
from pipeline.sources.source import Decoded
from pipeline.stages.ingest.footprint import Footprint

_ROUNDING: Final = 1e-6  # pixels: 0.07 x 100 is more than 7 in binary numbers


class ShardAverage:
    """The averages of a shard over valid observations, filled one period of the calendar after the other.

    A cell gets a value where its valid observations in the period are at least `least` times its land pixels. Pixels
    of a land cover that never has values are not land. At a coast, cells are averages of their land.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: Sequence[Channel],
        n_periods: int,
        least: float,
        capacity: np.ndarray,
    ) -> None:
        """Begin without any observation.

        Args:
            shape: cells along y and x.
            channels: that are averaged.
            n_periods: of the calendar.
            least: share of a cell's land pixels that must be valid.
            capacity: pixels of each cell (cells,).
        """
        self._n, self._shape = shape[0] * shape[1], tuple(shape)
        self._values = {c.name: np.full((n_periods, self._n), c.missing, c.dtype) for c in channels}
        self.counts: Counter[str] = Counter()
        self._channels, self._least, self._capacity = channels, least, capacity
        self._sums: dict[str, np.ndarray] = {}  # of the period, by channel; absent until an observation is valid
        self._numbers: dict[str, np.ndarray] = {}
        self._places: dict[int, _LandCover] = {}  # by footprint
        self._seen: set[int] = set()  # footprints of the period

    def add(self, where: Footprint, pixels: Decoded) -> None:
        """Add the pixels of one scene, in the order of the footprint's positions."""
        self.counts.update(pixels.counts)
        for name, valid in pixels.valid.items():
            which = np.flatnonzero(valid)
            if which.size:
                cells = where.cells[which]
                total = np.bincount(cells, pixels.values[name][which], minlength=self._n)
                number = np.bincount(cells, minlength=self._n)
                self._sums[name] = self._sums[name] + total if name in self._sums else total
                self._numbers[name] = self._numbers[name] + number if name in self._numbers else number
        if id(where) not in self._places:
            self._places[id(where)] = _LandCover.of(where)
        self._places[id(where)].add(pixels, self._n)
        self._seen.add(id(where))

    def end_period(self, index: int) -> None:
        """Compute the values of a period from what was added since the end of the last one."""
        static = [cover.static for key, cover in self._places.items() if key in self._seen and cover.static is not None]
        for channel in self._channels:
            if channel.name not in self._sums:
                continue
            number = self._numbers[channel.name]
            some = np.flatnonzero(number)
            land = self._capacity[some] - sum(cells[some] for cells in static)
            some = some[number[some] >= np.maximum(1, self._least * land - _ROUNDING)]
            self._values[channel.name][index, some] = np.rint(self._sums[channel.name][some] / number[some])
        self._sums, self._numbers, self._seen = {}, {}, set()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every array as it is stored.

        Returns:
            The channels (periods, y, x), and "land_share" and "crop_biome" (y, x) in percent, 255 = unknown.
        """
        totals = np.zeros((4, self._n))
        for cover in self._places.values():
            totals += cover.by_cell(self._n)
        seen, static, observed, crop = totals
        return {
            **{name: values.reshape(-1, *self._shape) for name, values in self._values.items()},
            "land_share": _percent(seen - static, seen).reshape(self._shape),
            "crop_biome": _percent(crop, observed).reshape(self._shape),
        }


@dataclass
class _LandCover:
    """Counts of the land cover of every pixel of one footprint, and the static cover of the last date.

    Static is a land cover that never has values.
    """

    where: Footprint
    n_dates: int
    n_static: np.ndarray  # (pixels,) dates
    n_observed: np.ndarray  # (pixels,) dates
    n_crop: np.ndarray  # (pixels,) dates
    last: bytes = b""  # static pixels of the last date
    static: np.ndarray | None = None  # (cells,) number of static pixels on the last date; None: none

    @classmethod
    def of(cls, where: Footprint) -> "_LandCover":
        n_static, n_observed, n_crop = np.zeros((3, where.cells.size), np.uint16)
        return cls(where, 0, n_static, n_observed, n_crop)

    def add(self, pixels: Decoded, n_cells: int) -> None:
        self.n_dates += 1
        if pixels.observed is not None:
            self.n_observed += pixels.observed
        if pixels.crop is not None:
            self.n_crop += pixels.crop
        if pixels.static is not None:
            self.n_static += pixels.static
            now = pixels.static.tobytes()
            if now != self.last:  # land cover hardly ever changes from date to date
                cells = self.where.cells[pixels.static]
                self.static = np.bincount(cells, minlength=n_cells) if cells.size else None
                self.last = now

    def by_cell(self, n_cells: int) -> np.ndarray:
        """Return sums (4, cells) of all dates of the pixels, and of the static, observed and crop ones."""
        cells = self.where.cells
        parts = (None, self.n_static, self.n_observed, self.n_crop)
        sums = [np.bincount(cells, part, minlength=n_cells) for part in parts]
        sums[0] = sums[0] * self.n_dates
        return np.stack(sums)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return a share as a whole number of percent, 255 where the whole is 0."""
    share = np.full(whole.size, MISSING, np.uint8)
    known = whole > 0
    share[known] = np.rint(100 * part[known] / whole[known])
    return share
