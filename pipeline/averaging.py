"""Averaging a shard's observations onto its cells, date by date."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipeline.footprint import Footprint
from pipeline.layout import MISSING
from pipeline.sources.source import Channel, Decoded


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
        n = shape[0] * shape[1]
        self._shape = tuple(shape)
        self._values = {c.name: np.full((n_periods, n), c.missing, c.dtype) for c in channels}
        self.counts: Counter[str] = Counter()
        self._channels, self._least, self._capacity = channels, least, capacity
        self._looks, self._static_looks = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._observed, self._crop = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._begin_period()

    def _begin_period(self) -> None:
        n = self._looks.size
        self._sum = {c.name: np.zeros(n, np.int64) for c in self._channels}
        self._count = {c.name: np.zeros(n, np.int64) for c in self._channels}
        self._static: dict[int, np.ndarray] = {}  # by footprint: a place seen twice has its water only once
        self._touched = False

    def add(self, where: Footprint, pixels: Decoded) -> None:
        """Add what the pixels of one scene say, in the order of the footprint's positions."""
        self._touched = True
        self.counts.update(pixels.counts)
        self._looks[where.cells] += where.sizes
        for name, valid in pixels.valid.items():
            if valid.any():
                self._sum[name][where.cells] += where.total(np.where(valid, pixels.values[name], 0))
                self._count[name][where.cells] += where.total(valid)
        if pixels.static is not None and pixels.static.any():
            static = where.total(pixels.static)
            self._static_looks[where.cells] += static
            here = self._static.setdefault(id(where), np.zeros_like(self._looks))
            here[where.cells] = np.maximum(here[where.cells], static)
        if pixels.crop is not None and pixels.observed is not None and pixels.observed.any():
            self._observed[where.cells] += where.total(pixels.observed)
            self._crop[where.cells] += where.total(pixels.crop)

    def end_period(self, index: int) -> None:
        """Turn what was added since the last period into values of this one."""
        if not self._touched:
            return
        land = self._capacity - sum(self._static.values(), np.zeros_like(self._looks))
        least = np.maximum(1, self._least * land)
        for channel in self._channels:
            total, count = self._sum[channel.name], self._count[channel.name]
            enough = count >= least
            self._values[channel.name][index, enough] = np.rint(total[enough] / count[enough])
        self._begin_period()

    def arrays(self) -> dict[str, np.ndarray]:
        """Every channel (periods, y, x) as stored, and "land_share", "crop_biome" (y, x) in percent, 255 = unknown."""
        land = _percent(self._looks - self._static_looks, self._looks)
        crop = _percent(self._crop, self._observed)
        return {
            **{name: values.reshape(-1, *self._shape) for name, values in self._values.items()},
            "land_share": land.reshape(self._shape),
            "crop_biome": crop.reshape(self._shape),
        }


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    share = np.full(whole.size, MISSING, np.uint8)
    known = whole > 0
    share[known] = np.rint(100 * part[known] / whole[known])
    return share
