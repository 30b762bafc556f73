"""How good a filling is: hide observations that are known, fill them, compare; and the plain fillings to compare with.

Series are (n, T, C) in data units, NaN = missing, everywhere in this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

_FRUITLESS: Final = 50  # rounds of runs in a row that hid nothing, after which there is nothing left to hide


# ---- hiding


def hide(series: np.ndarray, share: float, runs: bool, rng: np.random.Generator) -> np.ndarray:
    """Choose observed cells to hide; a date is hidden in all channels at once, as clouds do.

    Args:
        series: (n, T, C).
        share: of the observed cells that is hidden, 0 to below 1: exceeded by less than one run (or date), and missed
            only where every series would lose its last observation.
        runs: whether dates go in runs, as long as the gaps of the data are in the mean (geometric), or one by one.
        rng: draws places and lengths.

    Returns:
        Boolean (n, T, C), true where an observed cell is hidden. Every series keeps an observation.
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
    """Mean length of the gaps, in dates, of boolean observations (n, T); 1 where there is none."""
    starts = ~observed
    starts[:, 1:] &= observed[:, :-1]
    return float((~observed).sum() / starts.sum()) if starts.any() else 1.0


def _hide_dates(cells: np.ndarray, target: float, rng: np.random.Generator) -> np.ndarray:
    """Single dates (n, T) in random order, until `target` cells are hidden; one date of each series is never taken."""
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
    """Runs of dates (n, T), a run a series and round, the series in random order, until `target` cells are hidden."""
    dates = np.arange(cells.shape[1])
    hidden = np.zeros(cells.shape, bool)
    count, fruitless = 0, 0
    while count < target and fruitless < _FRUITLESS:
        left = (cells > 0) & ~hidden
        rows = rng.permutation(np.flatnonzero(left.sum(axis=1) > 1))
        # a run covers a date that is observed still, at any place within the run
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
        """Hide a share of the observed cells; a channel that would lose its last observation is not hidden at all."""
        runs = hide(series, share / 2, True, rng)
        rest = np.where(runs, np.nan, series)
        observed, left = (int((~np.isnan(part)).sum()) for part in (series, rest))
        single = hide(rest, min(share / 2 * observed / max(left, 1), 0.99), False, rng)
        lost = np.isnan(np.where(single, np.nan, rest)).all(axis=(0, 1))  # nothing can be trained on such a channel
        return cls(series, runs & ~lost, single & ~lost)

    @property
    def given(self) -> np.ndarray:
        """What a filling is given (n, T, C): the series without what is hidden."""
        return np.where(self.runs | self.single, np.float32(np.nan), self.truth)


# ---- scoring


def measure(hidden: Hidden, filled: np.ndarray, channels: Sequence[str]) -> dict[str, Any]:
    """Errors of a filling (n, T, C) over the hidden cells, JSON-able.

    Returns:
        "runs", "single" and "all" hidden cells, each as `errors`, over all channels together; with several channels,
        whose units may differ, the same of each under "channels", by its name.
    """
    masks = {"runs": hidden.runs, "single": hidden.single, "all": hidden.runs | hidden.single}
    measured: dict[str, Any] = {kind: errors(hidden.truth, filled, mask) for kind, mask in masks.items()}
    if len(channels) > 1:
        measured["channels"] = {
            name: {kind: errors(hidden.truth[..., c], filled[..., c], mask[..., c]) for kind, mask in masks.items()}
            for c, name in enumerate(channels)
        }
    return measured


def errors(truth: np.ndarray, filled: np.ndarray, where: np.ndarray) -> dict[str, Any]:
    """Number of cells, root of the mean squared and mean absolute error in data units; None of no cells."""
    difference = filled[where].astype(np.float64) - truth[where]
    if not len(difference):
        return {"cells": 0, "rmse": None, "mae": None}
    return {
        "cells": len(difference),
        "rmse": float(np.sqrt((difference**2).mean())),
        "mae": float(np.abs(difference).mean()),
    }


# ---- plain fillings
