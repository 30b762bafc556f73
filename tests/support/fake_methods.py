"""Methods for tests of the comparison, with known labels and fillings."""

import numpy as np

from model import TrainingDiverged
from pipeline.comparison.methods import Method

FITS: list[tuple[str, int, int]] = []  # method, seed and number of series of every fit that was begun


class EarlyOrLate:
    """It labels series 1 that are higher in their first half, others 0; the first `seed` labels are swapped."""

    def __init__(self, key: str, seed: int, training) -> None:
        self.key, self.seed, self.training = key, seed, training

    def get_params(self, deep=True):
        return {"n_clusters": self.training.clusters, "n_iter": self.training.iterations, "random_state": self.seed}

    def fit(self, X, y=None, *, progress=None, **given):
        FITS.append((self.key, self.seed, len(X)))
        if self.key == "diverges" and self.seed == 1:
            raise TrainingDiverged("nothing helped")
        if progress is not None:
            progress({"phase": "joint", "step": self.training.iterations, "losses": {"rec": 0.5}})
        self.labels_ = self.predict(X)
        self.labels_[: self.seed] = 1 - self.labels_[: self.seed]
        self.n_iter_ = self.training.iterations
        return self

    def predict(self, X):
        half = X.shape[1] // 2
        return (np.nansum(X[:, :half], axis=(1, 2)) > np.nansum(X[:, half:], axis=(1, 2))).astype(np.int64)

    def impute(self, X):
        return np.where(np.isnan(X), np.float32(self.seed), X)


def fake(key: str, network: bool = True) -> Method:
    return Method(key, f"the fake {key}", lambda config, seed: EarlyOrLate(key, seed, config.training), network)


def early_and_late(n: int = 20, n_dates: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return series that are 10 in their first or second half and 0 else, in turn, with a gap in each."""
    X = np.zeros((n, n_dates))
    X[::2, : n_dates // 2] = 10
    X[1::2, n_dates // 2 :] = 10
    X[np.arange(n), np.arange(n) % n_dates] = np.nan
    return X, np.arange(n) % 2
