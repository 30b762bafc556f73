"""Snapshots like those of an estimator, small enough to check by hand."""

import numpy as np


def make_snapshots(n_iterations=3, n_watched=6, n_curves=4, n_dates=5, n_channels=1, embedding_size=3, seed=0):
    """Return snapshots of the series 0, 2, 4, ...; a curve is 100 * iteration + 10 * series + date + channel / 10."""
    rng = np.random.default_rng(seed)
    rows = 2 * np.arange(n_watched)
    number = np.arange(n_iterations)[:, None, None, None] * 100.0
    series = rows[:n_curves, None, None] * 10.0
    date = np.arange(n_dates)[:, None] + np.arange(n_channels) / 10
    return {
        "iterations": 140 * np.arange(n_iterations),
        "rows": rows,
        "embedding": rng.normal(size=(n_iterations, n_watched, embedding_size)).astype(np.float32),
        "curve_rows": rows[:n_curves],
        "curves": (number + series + date).astype(np.float32),
    }
