"""What the estimators have in common: fitting, labelling, filling, and their files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError

from model import checkpoint
from model.fitting import fit_model
from model.joint_model import Outcome
from model.options import check_parameters, choose_device
from model.pretraining import Progress
from model.profiles import cluster_profiles, seasonal_order
from model.series import ChannelScaler, FloatArray, as_series, observed_and_zeroed

NO_LABEL = -1
BATCH_MULTIPLE = 16  # batches are padded to it: columns left over from full vectors are rounded differently
BATCH_SIZE = 8192  # series in one forward pass: large against the cost of a call, small against the caches


class Inference(NamedTuple):
    """Everything a trained model says about n series; series without any observation hold -1 and NaN."""

    labels: NDArray[np.int64]  # (n,)
    proba: FloatArray  # (n, K) q, rows summing to 1
    filled: FloatArray  # (n, T, C) data units, observed cells bit for bit as given
    spread: FloatArray  # (n, T, C) |e_fwd - e_bwd| in data units: how much the two directions disagree


class SeriesClustering(ClusterMixin, TransformerMixin, BaseEstimator):
    """Clustering of time series with gaps by networks that `fit_model` trains; subclasses bring the parameters."""

    n_clusters: int
    embedding_size: int
    device: str

    def _training_parameters(self) -> dict[str, Any]:
        """Every parameter of `fit_model`: the constructor's, and those that this method fixes."""
        return self.get_params()

    # ---- training

    def fit(self, X: Any, y: Any = None, *, progress: Progress | None = None) -> Self:
        """Train on X (n, T) or (n, T, C), NaN = missing; series without any observation are left out.

        `progress` is called with {"phase": "pretrain" | "joint", "step", "total", "losses": {...}}. Raises ValueError
        on parameters or data that cannot be used, TrainingDiverged where no restart helped.
        """
        check_parameters(self.get_params())
        device = choose_device(self.device)
        series = as_series(X)
        usable = ~np.isnan(series).all((1, 2))
        if usable.sum() < self.n_clusters:
            raise ValueError(
                f"X has {usable.sum()} series with an observation, fewer than n_clusters={self.n_clusters}"
            )
        scaler = ChannelScaler.fit(series)
        x, m = observed_and_zeroed(scaler.transform(series[usable]), device)
        fit = fit_model(x, m, self._training_parameters(), progress or _silent)
        # Only now, so that a training that failed leaves nothing half learned.
        self.model_, self.scaler_, self.n_iter_, self.history_ = fit.model, scaler, fit.n_iter, fit.history
        self.n_times_, self.n_channels_ = series.shape[1:]
        order = self._order_clusters(series[usable], fit.labels)
        for update in self.history_["updates"]:
            update["cluster_sizes"] = [update["cluster_sizes"][j] for j in order]
        self.labels_ = np.full(len(series), NO_LABEL, np.int64)
        self.labels_[usable] = np.argsort(order)[fit.labels]
        return self

    @torch.no_grad()
    def _order_clusters(self, series: FloatArray, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Renumber the clusters by the date of their peak, the earliest first; the old numbers in their new order."""
        decoded = self.model_.autoencoder.decode(self.model_.centres).cpu().numpy()
        decoded = self.scaler_.inverse(decoded.reshape(self.n_clusters, *series.shape[1:]))
        profiles = cluster_profiles(series, labels, decoded)
        order = seasonal_order(profiles[:, :, 0])
        self.model_.centres.copy_(self.model_.centres[torch.from_numpy(order)].clone())
        self.cluster_profiles_ = profiles[order]
        self.cluster_peaks_ = self.cluster_profiles_[:, :, 0].argmax(1)
        return order

    @property
    def cluster_centers_(self) -> FloatArray:
        """Centres mu (K, E) in the embedding."""
        self._check_fitted()
        centres: FloatArray = self.model_.centres.detach().cpu().numpy().copy()
        return centres

    # ---- using a trained model

    def infer(self, X: Any, batch_size: int = BATCH_SIZE) -> Inference:
        """Labels, probabilities, filled series and spread of X (n, T) or (n, T, C) in one pass.

        Results do not depend on how X is cut: a series has the same label alone, or in batches of any size.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        series = self._check_series(X)
        n_series = len(series)
        result = Inference(
            np.full(n_series, NO_LABEL, np.int64),
            np.full((n_series, self.n_clusters), np.nan, np.float32),
            np.full(series.shape, np.nan, np.float32),
            np.full(series.shape, np.nan, np.float32),
        )
        for rows, outcome in self._outcomes(series, batch_size):
            given = series[rows]
            result.proba[rows] = outcome.q.cpu().numpy()
            result.labels[rows] = outcome.q.argmax(1).cpu().numpy()
            estimate = self.scaler_.inverse(outcome.x_hat.cpu().numpy())
            result.filled[rows] = np.where(np.isnan(given), estimate, given)
            result.spread[rows] = outcome.spread.cpu().numpy() * self.scaler_.span
        return result

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Labels (n,): the cluster with the largest q; -1 for a series without any observation."""
        return self.infer(X).labels

    def predict_proba(self, X: Any) -> FloatArray:
        """q (n, K), Eq 6; NaN where a series has none."""
        return self.infer(X).proba

    def impute(self, X: Any) -> FloatArray:
        """X in its own shape, gaps filled by X_hat, observed cells as given; NaN where a series has none."""
        return self.infer(X).filled.reshape(np.shape(X))

    def transform(self, X: Any) -> FloatArray:
        """Embedding z (n, E); NaN for a series without any observation."""
        series = self._check_series(X)
        embedding = np.full((len(series), self.embedding_size), np.nan, np.float32)
        for rows, outcome in self._outcomes(series, BATCH_SIZE):
            embedding[rows] = outcome.z.cpu().numpy()
        return embedding

    def _outcomes(self, series: FloatArray, batch_size: int) -> Iterator[tuple[NDArray[np.int64], Outcome]]:
        """Row numbers and forward pass of every batch of series that have an observation."""
        usable = np.flatnonzero(~np.isnan(series).all((1, 2)))
        device = self.model_.centres.device
        for start in range(0, len(usable), batch_size):
            rows = usable[start : start + batch_size]
            padded = np.full((-(-len(rows) // BATCH_MULTIPLE) * BATCH_MULTIPLE, *series.shape[1:]), np.nan, np.float32)
            padded[: len(rows)] = self.scaler_.transform(series[rows])
            with torch.inference_mode():
                outcome = self.model_(*observed_and_zeroed(padded, device))
                yield rows, Outcome(*(part[: len(rows)] for part in outcome))

    def _check_series(self, X: Any) -> FloatArray:
        self._check_fitted()
        series = as_series(X)
        for axis, name, fitted in ((1, "dates", self.n_times_), (2, "channels", self.n_channels_)):
            if series.shape[axis] != fitted:
                raise ValueError(f"X has {series.shape[axis]} {name}; this model was trained on {fitted}")
        return series

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise NotFittedError(
                f"this {type(self).__name__} has not been trained: call fit, or {type(self).__name__}.load"
            )

    # ---- on disk

    def save(self, path: str | Path) -> None:
        """Write the directory `path`: weights.safetensors and model.json; an earlier model there is replaced."""
        self._check_fitted()
        checkpoint.write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """Read what `save` wrote; no code is run. ValueError says what is missing or differs."""
        return checkpoint.read(cls, Path(path), device)


def _silent(_: dict[str, Any]) -> None:
    pass
