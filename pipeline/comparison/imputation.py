"""The quality of a filling: hide observations that are known, fill them, and compare.

Series are (n, T, C) in data units, NaN = missing, everywhere in this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.reports.comparison_rows import Errors, FillingErrors

_FRUITLESS: Final = 50  # rounds in a row without a run to hide, after which nothing is left to hide


# ---- hiding


def hide(series: np.ndarray, share: float, runs: bool, rng: np.random.Generator) -> np.ndarray:
    """Choose observed cells to hide; a date is hidden in all channels at once, as a cloud hides it.

    Args:
        series: (n, T, C).
        share: of the observed cells that is hidden, 0 to below 1. It is exceeded by less than one run (or date). Less
            is hidden only where every series would lose its last observation.
        runs: whether dates are hidden in runs of geometric length, as long in the mean as the gaps of the data, or one
            by one.
        rng: draws places and lengths.

    Returns:
        Boolean (n, T, C), true where an observed cell is hidden. Every series keeps an observation.

    Raises:
        ValueError: the share is negative or not below 1.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share is {share}; it must be at least 0 and below 1")
    observed = ~np.isnan(series)
    cells = observed.sum(axis=2)  # (n, T) observed channels of a date
    target = share * cells.sum()
    dates = _hide_runs(cells, target, mean_gap(cells > 0), rng) if runs else _hide_dates(cells, target, rng)
    hidden: np.ndarray = observed & dates[:, :, None]
    return hidden


def mean_gap(observed: np.ndarray) -> float:
    """Return the mean length of the gaps, in dates, of boolean observations (n, T); 1 where there is none."""
    starts = ~observed
    starts[:, 1:] &= observed[:, :-1]
    return float((~observed).sum() / starts.sum()) if starts.any() else 1.0


def _hide_dates(cells: np.ndarray, target: float, rng: np.random.Generator) -> np.ndarray:
    """Choose single dates (n, T) in random order until `target` cells are hidden; each series keeps a date."""
    order = rng.random(cells.shape)
    free = cells > 0
    kept = np.where(free, order, -1).argmax(axis=1)
    free[np.arange(len(cells)), kept] = False
    row, date = np.nonzero(free)
    by_order = np.argsort(order[row, date])
    row, date = row[by_order], date[by_order]
    before = np.cumsum(cells[row, date]) - cells[row, date]
    taken = before < target
    hidden = np.zeros(cells.shape, bool)
    hidden[row[taken], date[taken]] = True
    return hidden


def _hide_runs(cells: np.ndarray, target: float, length: float, rng: np.random.Generator) -> np.ndarray:
    """Choose runs of dates (n, T) until `target` cells are hidden: a run a series and round, in random order."""
    dates = np.arange(cells.shape[1])
    hidden = np.zeros(cells.shape, bool)
    count, fruitless = 0, 0
    while count < target and fruitless < _FRUITLESS:
        left = (cells > 0) & ~hidden
        rows = rng.permutation(np.flatnonzero(left.sum(axis=1) > 1))
        # a run covers a date that is still observed, at any place within the run
        inside = np.where(left[rows], rng.random((len(rows), len(dates))), -1).argmax(axis=1)
        lengths = rng.geometric(1 / length, len(rows))
        first = inside - rng.integers(0, lengths)
        run = (dates >= first[:, None]) & (dates < (first + lengths)[:, None]) & left[rows]
        possible = (left[rows] & ~run).any(axis=1)  # the last observation of a series is never hidden
        rows, run = rows[possible], run[possible]
        number = (cells[rows] * run).sum(axis=1)
        taken = np.cumsum(number) - number < target - count
        hidden[rows[taken]] |= run[taken]
        count += int(number[taken].sum())
        fruitless = 0 if taken.any() else fruitless + 1
    return hidden


@dataclass(frozen=True)
class Hidden:
    """Series of which some observations are hidden, half of them in runs and half singly."""

    truth: np.ndarray  # (n, T, C) as observed
    runs: np.ndarray  # (n, T, C) true where hidden in a run
    single: np.ndarray  # (n, T, C) true where hidden alone

    @classmethod
    def of(cls, series: np.ndarray, share: float, rng: np.random.Generator) -> "Hidden":
        """Hide a share of the observed cells; a channel that would lose its last observation keeps all of them."""
        runs = hide(series, share / 2, True, rng)
        rest = np.where(runs, np.nan, series)
        observed, left = (int((~np.isnan(part)).sum()) for part in (series, rest))
        single = hide(rest, min(share / 2 * observed / max(left, 1), 0.99), False, rng)
        lost = np.isnan(np.where(single, np.nan, rest)).all(axis=(0, 1))  # nothing can be trained on such a channel
        return cls(series, runs & ~lost, single & ~lost)

    @property
    def given(self) -> np.ndarray:
        """Return the series without the hidden cells (n, T, C), as a filling gets them."""
        return np.where(self.runs | self.single, np.float32(np.nan), self.truth)


# ---- scoring


def measure(hidden: Hidden, filled: np.ndarray, channels: Sequence[str]) -> FillingErrors:
    """Measure the errors of a filling (n, T, C) over the hidden cells.

    Errors are over all channels together. Several channels, whose units may differ, have their own errors, too.
    """
    measured = _by_kind(hidden, filled)
    if len(channels) > 1:
        measured["channels"] = {
            name: _by_kind(Hidden(hidden.truth[..., c], hidden.runs[..., c], hidden.single[..., c]), filled[..., c])
            for c, name in enumerate(channels)
        }
    return measured


def _by_kind(hidden: Hidden, filled: np.ndarray) -> FillingErrors:
    return {
        "runs": errors(hidden.truth, filled, hidden.runs),
        "single": errors(hidden.truth, filled, hidden.single),
        "all": errors(hidden.truth, filled, hidden.runs | hidden.single),
    }


def errors(truth: np.ndarray, filled: np.ndarray, where: np.ndarray) -> Errors:
    """Return root mean squared and mean absolute error over some cells, in data units; None without any cell."""
    difference = filled[where].astype(np.float64) - truth[where]
    if not len(difference):
        return {"cells": 0, "rmse": None, "mae": None}
    return {
        "cells": len(difference),
        "rmse": float(np.sqrt((difference**2).mean())),
        "mae": float(np.abs(difference).mean()),
    }
