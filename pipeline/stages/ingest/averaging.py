"""Averaging a shard's observations onto its cells, date by date."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.base.channel import Channel
from pipeline.cube.layout import MISSING
from pipeline.sources.source import Decoded
from pipeline.stages.ingest.footprint import Footprint

_ROUNDING = 1e-6  # pixels: 0.07 x 100 is more than 7 in binary numbers


class ShardAverage:
    """A shard's averages over valid observations, filled one period of the calendar after the other.

    A cell has a value where the number of its valid observations in the period reaches `least` times the number of
    its land pixels: those not of a land cover that never has values. At a coast, cells are averages of their land.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        channels: Sequence[Channel],
        n_periods: int,
        least: float,
        capacity: np.ndarray,
    ) -> None:
        """Begin.

        Args:
            shape: cells along y and x.
            channels: what is averaged.
            n_periods: of the calendar.
            least: minimum share.
            capacity: pixels of each cell (cells,).
        """
        self._n, self._shape = shape[0] * shape[1], tuple(shape)
        self._values = {c.name: np.full((n_periods, self._n), c.missing, c.dtype) for c in channels}
        self.counts: Counter[str] = Counter()
        self._channels, self._least, self._capacity = channels, least, capacity
        self._sums: dict[str, np.ndarray] = {}  # of the period, by channel: absent until something is valid
        self._numbers: dict[str, np.ndarray] = {}
        self._places: dict[int, _LandCover] = {}  # by footprint
        self._seen: set[int] = set()  # footprints of the period

    def add(self, where: Footprint, pixels: Decoded) -> None:
        """Add what the pixels of one scene say, in the order of the footprint's positions."""
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
        """Turn what was added since the last period into values of this one."""
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
        """Every channel (periods, y, x) as stored, and "land_share", "crop_biome" (y, x) in percent, 255 = unknown."""
        totals = np.zeros((4, self._n))
        for cover in self._places.values():
            totals += cover.by_cell(self._n)
        looks, static, observed, crop = totals
        return {
            **{name: values.reshape(-1, *self._shape) for name, values in self._values.items()},
            "land_share": _percent(looks - static, looks).reshape(self._shape),
            "crop_biome": _percent(crop, observed).reshape(self._shape),
        }


@dataclass
class _LandCover:
    """How often each pixel of one footprint was seen as what, and the last date's cover without values."""

    where: Footprint
    looks: int
    n_static: np.ndarray  # (pixels,)
    n_observed: np.ndarray
    n_crop: np.ndarray
    last: bytes = b""
    static: np.ndarray | None = None  # (cells,) pixels of such a cover on the last date; None: not any

    @classmethod
    def of(cls, where: Footprint) -> "_LandCover":
        n_static, n_observed, n_crop = np.zeros((3, where.cells.size), np.uint16)
        return cls(where, 0, n_static, n_observed, n_crop)

    def add(self, pixels: Decoded, n_cells: int) -> None:
        self.looks += 1
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
        """Sums (4, cells) of looks, and of those that were static, observed, crop."""
        cells = self.where.cells
        parts = (None, self.n_static, self.n_observed, self.n_crop)
        sums = [np.bincount(cells, part, minlength=n_cells) for part in parts]
        sums[0] = sums[0] * self.looks
        return np.stack(sums)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share = np.full(whole.size, MISSING, np.uint8)
    known = whole > 0
    share[known] = np.rint(100 * part[known] / whole[known])
    return share
