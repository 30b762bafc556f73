"""K-means on plainly filled series: a cheap reference for every trained method."""

import warnings
from typing import Self

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from model.fillings import FILLERS

RESTARTS = 20  # of k-means


class FilledKMeans:
    """K-means on plainly filled series (n, T, C), NaN = missing, used as estimators of scikit-learn are.

    Channels are scaled to the same range before distances are computed.

    Attributes: labels_ (n,), centres_ (K, T * C) of filled and scaled series, n_iter_.
    """

    def __init__(self, n_clusters: int = 2, *, filling: str = "mean", random_state: int | None = None) -> None:
        self.n_clusters = n_clusters
        self.filling = filling
        self.random_state = random_state

    def get_params(self, deep: bool = True) -> dict[str, int | str | None]:
        """Return the constructor's parameters."""
        return {"n_clusters": self.n_clusters, "filling": self.filling, "random_state": self.random_state}

    def fit(self, X: np.ndarray, y: object = None, *, progress: object = None) -> Self:
        """Compute the centres; every series has an observation.

        It runs on one thread, so that the same seed leads to the same centres.

        Raises:
            ValueError: there are fewer series than clusters.
        """
        if len(X) < self.n_clusters:
            raise ValueError(f"X has {len(X)} series, fewer than n_clusters={self.n_clusters}")
        low, high = np.nanmin(X, axis=(0, 1)), np.nanmax(X, axis=(0, 1))
        self._low, self._span, self._mean = low, np.where(high > low, high - low, 1), np.nanmean(X, axis=(0, 1))
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct series than clusters: centres coincide
            fitted = KMeans(self.n_clusters, n_init=RESTARTS, random_state=self.random_state).fit(self._flat(X))
        self.centres_ = np.asarray(fitted.cluster_centers_, np.float32)
        self.n_iter_ = int(fitted.n_iter_)
        self.labels_ = self.predict(X)
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the number of the centre nearest to each series (n,)."""
        flat = self._flat(X)
        squared = (flat**2).sum(1)[:, None] - 2 * flat @ self.centres_.T + (self.centres_**2).sum(1)
        nearest: np.ndarray = squared.argmin(axis=1)
        return nearest

    def impute(self, X: np.ndarray) -> np.ndarray:
        """Return the series filled as they are before clustering, (n, T, C) in data units."""
        return FILLERS[self.filling](X, self._mean)

    def _flat(self, X: np.ndarray) -> np.ndarray:
        scaled = (self.impute(X) - self._low) / self._span
        flat: np.ndarray = scaled.reshape(len(X), X.shape[1] * X.shape[2])
        return flat
