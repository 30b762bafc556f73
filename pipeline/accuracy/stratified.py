"""Area and accuracy from a stratified random sample: the estimators of Olofsson et al. (2014), on plain counts.

Equation numbers are those of "Good practices for estimating area and assessing accuracy of land change", Remote Sensing
of Environment 148, 42-57. No finite population correction is applied, as in the paper: where much of a stratum is
sampled, standard errors are larger than they need be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

import numpy as np

Z95: Final = 1.96  # half-width of a 95 % confidence interval in standard errors, rounded as the paper has it


class EstimateJson(TypedDict):
    """An estimated number with its 95 % confidence interval; None is what the sample does not say."""

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Estimate:
    """An estimated number; None is what the sample does not say."""

    value: float | None
    standard_error: float | None
    most: float  # the largest value that is possible; the smallest is 0

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95 % confidence interval: value ± half_width."""
        return None if self.standard_error is None else Z95 * self.standard_error

    @property
    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % confidence interval, cut to what is possible."""
        if self.value is None or self.half_width is None:
            return None
        return max(0.0, self.value - self.half_width), min(self.most, self.value + self.half_width)

    def as_json(self) -> EstimateJson:
        """Return value, standard error, and both ends of the interval."""
        low, high = self.interval or (None, None)
        return {"value": self.value, "standard_error": self.standard_error, "low": low, "high": high}


@dataclass(frozen=True)
class StratifiedSample:
    """Counts of sampled cells, and the areas that they stand for.

    Stratum k counts as right where the reference is of class k; there may be more classes than strata, or fewer.

    Args:
        counts: (K, C) sampled cells; rows are strata of the map, columns classes of the reference.
        areas: (K,) mapped area of every stratum, in any unit.

    Raises:
        ValueError: the shapes do not fit, or a number is negative.
    """

    counts: np.ndarray
    areas: np.ndarray

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.areas.shape != self.counts.shape[:1]:
            raise ValueError(
                f"counts {self.counts.shape} and areas {self.areas.shape}: a row of counts and an area for every "
                "stratum are expected"
            )
        if (self.counts < 0).any() or not (self.areas >= 0).all():
            raise ValueError("counts and areas cannot be negative")

    def proportions(self) -> np.ndarray | None:
        """Estimate the share of the area in every cell of the error matrix, eq. 4: (K, C); None as in `area`."""
        shares = self._shares()
        return None if shares is None else self._weights()[:, None] * shares

    def area(self) -> list[Estimate]:
        """Estimate the area of every class of the reference, eq. 8 to 11, in the unit of the areas.

        Without a sample in a stratum of some area nothing is known, and with a single one no standard error.
        """
        total, shares = float(self.areas.sum()), self._shares()
        if shares is None:
            return [Estimate(None, None, total) for _ in range(self.counts.shape[1])]
        values = self.areas @ shares
        return [
            Estimate(float(value), self._error(_variance(column)), total)
            for value, column in zip(values, shares.T, strict=True)
        ]

    def users_accuracy(self) -> list[Estimate]:
        """Estimate the share of every stratum that is of its class, eq. 2 and 6; None where no class has its number."""
        found = []
        for k, row in enumerate(self.counts):
            n = int(row.sum())
            if n == 0 or k >= len(row):
                found.append(Estimate(None, None, 1.0))
                continue
            share = float(row[k] / n)
            error = float(np.sqrt(share * (1 - share) / (n - 1))) if n > 1 else None
            found.append(Estimate(share, error, 1.0))
        return found

    def producers_accuracy(self) -> list[Estimate]:
        """Estimate the share of every class's area in its stratum, eq. 3 and 7; None of a class without a stratum."""
        shares = self._shares()
        if shares is None:
            return [Estimate(None, None, 1.0) for _ in range(self.counts.shape[1])]
        none = np.zeros(len(shares))
        found = []
        for k, column in enumerate(shares.T):
            if k >= len(shares):
                found.append(Estimate(None, None, 1.0))
            else:
                found.append(self._ratio(np.where(np.arange(len(shares)) == k, column, none), column))
        return found

    def overall_accuracy(self) -> Estimate:
        """Estimate the share of the area whose class is that of its stratum, eq. 1 and 5."""
        shares = self._shares()
        if shares is None or self.areas.sum() == 0:
            return Estimate(None, None, 1.0)
        return self._ratio(self._right(shares), np.ones(len(shares)))

    def accuracy_among(self, classes: Sequence[int]) -> Estimate:
        """Estimate the share of some classes' area that is in the right stratum: a ratio (Stehman 2014).

        Args:
            classes: numbers of the classes, all of which have a stratum.
        """
        shares = self._shares()
        if shares is None:
            return Estimate(None, None, 1.0)
        right = np.array([row[k] if k in classes else 0.0 for k, row in enumerate(shares)])
        return self._ratio(right, shares[:, list(classes)].sum(axis=1))

    def _shares(self) -> np.ndarray | None:
        """Return n_ij / n_i. of every stratum, 0 in those without area; None where one with area has no sample."""
        n = self.counts.sum(axis=1)
        if ((n == 0) & (self.areas > 0)).any():
            return None
        shares: np.ndarray = np.where(self.areas[:, None] > 0, self.counts / np.maximum(n, 1)[:, None], 0.0)
        return shares

    def _weights(self) -> np.ndarray:
        """Return the share of every stratum in the mapped area, W_i."""
        total = self.areas.sum()
        weights: np.ndarray = self.areas / total if total else np.zeros_like(self.areas, dtype=float)
        return weights

    def _right(self, shares: np.ndarray) -> np.ndarray:
        return np.array([row[k] if k < len(row) else 0.0 for k, row in enumerate(shares)])

    def _error(self, variances: np.ndarray) -> float | None:
        """Return the standard error of an area, from the variance of a cell in every stratum; None of one sample."""
        present = self.areas > 0
        n = self.counts.sum(axis=1)[present]
        if (n < 2).any():
            return None
        return float(np.sqrt((self.areas[present] ** 2 * variances[present] / (n - 1)).sum()))

    def _ratio(self, part: np.ndarray, whole: np.ndarray) -> Estimate:
        """Estimate the ratio of two areas, the first within the second, from their shares (K,) of the strata."""
        area = float(self.areas @ whole)
        if area == 0:
            return Estimate(None, None, 1.0)
        ratio = float(self.areas @ part) / area
        # of y - R x, where y is 1 only where x is: products of both are y
        variances = _variance(part) + ratio**2 * _variance(whole) - 2 * ratio * (part - part * whole)
        error = self._error(np.maximum(variances, 0))  # rounding may make them negative
        return Estimate(ratio, None if error is None else error / area, 1.0)


def sample_size(weights: np.ndarray, users_accuracy: np.ndarray, standard_error: float) -> int:
    """Return the number of sampled cells with which overall accuracy has a standard error, eq. 13, in a large area.

    Args:
        weights: (K,) share of every stratum in the area.
        users_accuracy: (K,) as expected.
        standard_error: that is wanted.
    """
    deviations = np.sqrt(users_accuracy * (1 - users_accuracy))
    return int(np.ceil((float(weights @ deviations) / standard_error) ** 2 - 1e-9))


def _variance(share: np.ndarray) -> np.ndarray:
    """Return the variance of a cell that is 1 with this probability, else 0."""
    variance: np.ndarray = share * (1 - share)
    return variance
