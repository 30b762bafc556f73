"""Plain fillings of gaps: by the mean, linearly, by harmonics; series are (n, T, C), NaN = missing."""

from collections.abc import Callable
from typing import Final

import numpy as np

HARMONICS: Final = 2  # of a year, beside mean and trend: six coefficients
RIDGE: Final = 1e-4  # penalty an observation: where there are too few for six coefficients, it keeps them small

Filler = Callable[[np.ndarray, np.ndarray], np.ndarray]  # series, channel means (C,) -> series without gaps


def fill_linearly(series: np.ndarray, channel_mean: np.ndarray) -> np.ndarray:
    """Fill gaps on straight lines between observations; before the first and after the last one, by that one.

    Args:
        series: (n, T, C).
        channel_mean: (C,), for a channel that a series never observed.
    """
    known = ~np.isnan(series)
    dates = np.arange(series.shape[1])[:, None]
    n_dates = len(dates)
    before = np.maximum.accumulate(np.where(known, dates, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, dates, n_dates)[:, ::-1], axis=1)[:, ::-1]
    left = np.where(before < 0, after, before)
    right = np.where(after == n_dates, before, after)
    low, high = (np.take_along_axis(series, np.clip(at, 0, n_dates - 1), axis=1) for at in (left, right))
    weight = (dates - left) / np.maximum(right - left, 1)
    line = low + (high - low) * weight
    return _keep_observed(series, np.where(known.any(axis=1, keepdims=True), line, channel_mean))


def fill_harmonically(series: np.ndarray, channel_mean: np.ndarray) -> np.ndarray:
    """Fill gaps by mean, trend and two harmonics of the year, fitted to each series by least squares; not clipped.

    After the observed mean is subtracted, the sum of squares of all coefficients but the mean is penalised by RIDGE
    times the number of observations: with fewer than six observations there is still one solution, a small one.

    Args:
        series: (n, T, C); the dates are taken to divide one year evenly.
        channel_mean: (C,), for a channel that a series never observed.
    """
    design = harmonic_design(series.shape[1])
    filled = np.empty(series.shape, np.float64)
    for c in range(series.shape[2]):
        values = series[:, :, c].astype(np.float64)
        known = ~np.isnan(values)
        count = known.sum(axis=1)
        mean = np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1)
        normal = np.einsum("nt,ti,tj->nij", known, design, design, optimize=True)
        normal[:, np.arange(1, 6), np.arange(1, 6)] += RIDGE * np.maximum(count, 1)[:, None]
        normal[count == 0, 0, 0] = 1
        right = np.where(known, values - mean[:, None], 0) @ design
        coefficients = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        curve = mean[:, None] + coefficients @ design.T
        filled[:, :, c] = np.where(count[:, None] > 0, curve, channel_mean[c])
    return _keep_observed(series, filled)


def harmonic_design(n_dates: int) -> np.ndarray:
    """Return mean, trend, and cosine and sine of each harmonic at every date: (T, 6)."""
    year = np.arange(n_dates) / n_dates
    waves = [wave(2 * np.pi * k * year) for k in range(1, HARMONICS + 1) for wave in (np.cos, np.sin)]
    return np.stack([np.ones(n_dates), year - 0.5, *waves], axis=1)


def _keep_observed(series: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    filled: np.ndarray = np.where(np.isnan(series), estimate, series).astype(np.float32)
    return filled


def fill_with_mean(series: np.ndarray, channel_mean: np.ndarray) -> np.ndarray:
    """Fill the gaps of each series by its own mean in that channel: the mean imputation of the paper.

    Args:
        series: (n, T, C), NaN = missing.
        channel_mean: (C,), for a channel that a series never observed.
    """
    known = ~np.isnan(series)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, series, 0).sum(axis=1, keepdims=True)
    mean = np.where(count > 0, total / np.maximum(count, 1), channel_mean)
    filled: np.ndarray = np.where(known, series, mean).astype(np.float32)
    return filled


FILLERS: Final[dict[str, Filler]] = {
    "mean": fill_with_mean,
    "linear": fill_linearly,
    "harmonic": fill_harmonically,
}
