"""Areas of true transitions between seasons, estimated from a sample of the mapped ones; plain counts.

Every sampled cell is looked up in the reference maps of both years, so that the estimate contains the errors of both,
related or not. An estimate from the accuracies of the single years would need the assumption that errors of one year
are independent of those of the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.accuracy.stratified import Z95, Estimate, EstimateJson, StratifiedSample


@dataclass(frozen=True)
class TransitionSample:
    """Sampled cells, and the areas of the mapped transitions that they were drawn from.

    A transition with fewer than two sampled cells has no variance: it is left out, and so is its area.

    Args:
        counts: (K K, C, C) by mapped transition, and by class of the earlier and of the later year's reference.
        areas: (K K,) mapped area of every transition, in any unit.
    """

    counts: np.ndarray
    areas: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number C of classes of the reference."""
        return int(self.counts.shape[1])

    @cached_property
    def estimated(self) -> np.ndarray:
        """Whether each mapped transition is part of the estimates (K K,)."""
        estimated: np.ndarray = self.counts.sum(axis=(1, 2)) >= 2
        return estimated

    @property
    def left_out(self) -> float:
        """Area of the transitions that are not."""
        return float(self.areas[~self.estimated].sum())

    @cached_property
    def _sample(self) -> StratifiedSample:
        return StratifiedSample(self.counts[self.estimated].reshape(-1, self.n_classes**2), self.areas[self.estimated])

    def transitions(self) -> list[list[Estimate]]:
        """Estimate the area of every true transition from class k to l, [k][l]: Olofsson et al. (2014), eq. 8 to 11."""
        found, n = self._sample.area(), self.n_classes
        return [found[k * n : (k + 1) * n] for k in range(n)]

    def net(self) -> list["Difference"]:
        """Estimate the area of every class in the later year minus that in the earlier one."""
        weights = np.eye(self.n_classes)
        return [self._total(weights[k][None, :] - weights[k][:, None]) for k in range(self.n_classes)]

    def share_right(self, n_labels: int) -> list[Estimate]:
        """Estimate user's accuracy of every mapped transition (K K): the share that the reference has too, eq. 2 and 6.

        Label k must stand for class k.
        """
        found = []
        for stratum, counts in enumerate(self.counts):
            n, right = int(counts.sum()), int(counts[divmod(stratum, n_labels)])
            share = right / n if n else None
            error = float(np.sqrt(share * (1 - share) / (n - 1))) if share is not None and n > 1 else None
            found.append(Estimate(share, error, 1.0))
        return found

    def changed(self, classes: Sequence[int]) -> Estimate:
        """Estimate the area that changed from one of some classes to another of them."""
        weights = np.zeros((self.n_classes, self.n_classes))
        weights[np.ix_(classes, classes)] = 1 - np.eye(len(classes))
        total = self._total(weights)
        return Estimate(total.value, total.standard_error, float(self._sample.areas.sum()))

    def _total(self, weights: np.ndarray) -> "Difference":
        """Estimate the total of a number that every cell has by its true transition (C, C).

        Eq. 9 and 10, for a number instead of a share: the variance in a stratum is that of the number.
        """
        counts, areas = self._sample.counts, self._sample.areas
        n, numbers = counts.sum(axis=1), weights.ravel()
        mean = counts @ numbers / n
        variance = counts @ numbers**2 / n - mean**2
        error = np.sqrt((areas**2 * np.maximum(variance, 0) / (n - 1)).sum())
        return Difference(float(areas @ mean), float(error))


@dataclass(frozen=True)
class Difference:
    """An estimated number of either sign, with its standard error."""

    value: float
    standard_error: float

    def as_json(self) -> EstimateJson:
        """Return value, standard error, and both ends of the 95 % confidence interval."""
        half = Z95 * self.standard_error
        return {
            "value": self.value,
            "standard_error": self.standard_error,
            "low": self.value - half,
            "high": self.value + half,
        }
