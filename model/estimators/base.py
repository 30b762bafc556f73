"""Base of the estimators: fitting, labelling and filling."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.nn.functional import pad

from model.estimators.inference import DateInference, Inference
from model.estimators.profiles import cluster_profiles, seasonal_order
from model.estimators.saved import Saved
from model.networks.series_model import Outcome, joined
from model.parameters import check_parameters, choose_device, drawn_seed, plain_parameters
from model.series import ChannelScaler, FloatArray, as_series, observed_and_zeroed, select
from model.threads import one_thread
from model.training.history import History
from model.training.progress import Progress, TrainingReport
from model.training.target import Population
from model.training.trained import Trained

NO_LABEL = -1
BLOCK = 4096  # series in every forward pass on a CPU: large against the cost of a call, small against the caches


class SeriesClustering(ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, BaseEstimator, Saved):
    """Clustering of time series with gaps by networks; a subclass adds parameters, networks and their training."""

    device: str
    random_state: int | np.random.RandomState | None
    labels_: NDArray[np.int64]

    @staticmethod
    def _train(
        x: Tensor,
        m: Tensor,
        parameters: Mapping[str, Any],
        progress: Progress,
        checkpoint: Path | None,
        population: Population | None,
    ) -> Trained:
        """Train on scaled series x (n, T, C), 0 where the mask m is false; every series has an observation."""
        raise NotImplementedError

    @classmethod
    def untrained(cls, parameters: Mapping[str, Any], device: str) -> Self:
        """Return an estimator with these parameters of the constructor on this device."""
        return cls(**parameters, device=device)

    # ---- training

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        progress: Progress | None = None,
        checkpoint: str | Path | None = None,
        population: Callable[[], Iterator[FloatArray]] | None = None,
    ) -> Self:
        """Train on X (n, T) or (n, T, C), NaN = missing; series without any observation are left out.

        y is ignored. `progress` is called with a `TrainingReport`. `checkpoint` is a folder in which the state of
        training is kept while it goes on: a training that was killed continues from there, to the same weights bit for
        bit on a CPU of the same kind, when it is started again with the same data and parameters. The folder is left to
        the caller to remove. `population` returns, at every call, all series of which X is a sample, in parts (n, T, C)
        in data units: cluster sizes f_j of the target P (Eq 5) are then summed over them instead of over X.

        Raises ValueError on parameters or data that cannot be used, TrainingDiverged where no restart helped.
        """
        check_parameters(self.get_params())
        if population is not None and not callable(population):
            raise ValueError("population must be a function that gives all parts anew at every call")
        device = choose_device(self.device)
        # What is stored about X is set after training, so that a training that failed leaves nothing half learned.
        series = as_series(check_array(X, estimator=self, dtype="numeric", ensure_all_finite=False, allow_nd=True))
        usable = ~np.isnan(series).all((1, 2))
        if usable.sum() < self.n_clusters:
            raise ValueError(
                f"X has n_samples={usable.sum()} series with an observation, fewer than n_clusters={self.n_clusters}"
            )
        scaler = ChannelScaler.fit(series)
        trained = self._train(
            *observed_and_zeroed(scaler.transform(series[usable]), device),
            plain_parameters(self.training_parameters()) | {"random_state": drawn_seed(self.random_state)},
            progress or _silent,
            None if checkpoint is None else Path(checkpoint),
            None if population is None else _scaled_parts(population, scaler, series.shape[1:], device),
        )
        validate_data(self, X, skip_check_array=True)  # n_features_in_, feature_names_in_
        self.model_, self.scaler_, self.n_iter_ = trained.model.eval(), scaler, trained.n_iter
        self.about_ = {}
        self.n_times_, self.n_channels_ = series.shape[1:]
        order = self._order_clusters(series[usable], trained.labels)
        self.history_ = _history_of_x(trained.history, order, np.flatnonzero(usable), scaler)
        self.labels_ = np.full(len(series), NO_LABEL, np.int64)
        self.labels_[usable] = np.argsort(order)[trained.labels]
        return self

    @torch.no_grad()
    def _order_clusters(self, series: FloatArray, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number the clusters by the date of their peak, the earliest first; return the old numbers in that order."""
        decoded = self.scaler_.inverse(self.model_.decoded_centres().cpu().numpy())
        profiles = cluster_profiles(series, labels, decoded)
        order = seasonal_order(profiles[:, :, 0])
        self.model_.reorder(torch.from_numpy(order))
        self.cluster_profiles_ = profiles[order]
        self.cluster_peaks_ = self.cluster_profiles_[:, :, 0].argmax(1)
        return order

    @property
    def cluster_centers_(self) -> FloatArray:
        """Return the centres mu (K, E) in the embedding."""
        self._check_fitted()
        centres: FloatArray = self.model_.centres.detach().cpu().numpy().copy()
        return centres

    # ---- using a trained model

    @torch.inference_mode()
    def infer(self, X: Any, batch_size: int = BLOCK) -> Inference:
        """Return labels, probabilities, filled series and spread of X (n, T) or (n, T, C), all in one pass.

        Results do not depend on how X is cut. On a CPU a series has the same bits alone and in batches of any size: all
        go through the networks in blocks of one size. Between kinds of processors values differ by rounding, at most
        1e-5 of the range of the data; labels are then the same but for ties.
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
        for rows, dates, found in self._in_batches(series, batch_size):
            result.proba[rows] = found.q.cpu().numpy()
            result.labels[rows] = found.q.argmax(1).cpu().numpy()
            filled = select(~dates.isnan(), dates, found.estimates().cpu())
            result.filled[rows] = filled.permute(2, 0, 1).numpy()
            result.spread[rows] = found.spread().cpu().permute(2, 0, 1).numpy()
        return result

    @torch.inference_mode()
    def infer_dates(self, dates: Tensor) -> DateInference:
        """Return the forward pass over n series in the order of stores, one date after the other, in one batch.

        `dates` is float32 (T, C, n), data units, NaN = missing, on any device; the results are on the device of
        the model. Memory is in proportion to n, rounded up to whole blocks of `BLOCK` series on a CPU. Series without
        any observation get results of the weights alone, which the caller has to ignore. Results of a series do not
        depend on the others (see `infer`). ValueError on other dates or channels.
        """
        self._check_fitted()
        expected = (self.n_times_, self.n_channels_)
        if dates.ndim != 3 or tuple(dates.shape[:2]) != expected or dates.dtype != torch.float32:
            raise ValueError(
                f"dates is {dates.dtype} {tuple(dates.shape)}; this model takes torch.float32 (T, C, n) with "
                f"T = {expected[0]}, C = {expected[1]}"
            )
        minimum, span = self.scaler_.by_channel(self.model_.centres.device)
        with one_thread():
            parts = [self._forward(part, minimum, span) for part in self._blocks(dates)]
        return DateInference(joined(parts), minimum, span)

    def _blocks(self, dates: Tensor) -> Iterator[Tensor]:
        """Cut dates (T, C, n) into blocks of one size on a CPU; on a GPU they stay in one piece.

        Rounding in a product of matrices depends on its size, so that only products of one size have equal bits.
        """
        return iter(dates.split(BLOCK, 2) if self.model_.centres.device.type == "cpu" else (dates,))

    def _forward(self, dates: Tensor, minimum: Tensor, span: Tensor) -> Outcome:
        """Return the scaled forward pass over one block (T, C, n); on a CPU series of gaps make it a whole one."""
        n_series = dates.shape[2]
        dates = dates.to(span.device, non_blocking=True)
        lacking = BLOCK - n_series if span.device.type == "cpu" else int(n_series == 0)
        padded = pad(dates, (0, lacking), value=np.nan) if lacking else dates
        x = padded.sub(minimum).div_(span).permute(2, 0, 1)
        outcome = self.model_(x, ~x.isnan())
        return Outcome(*(part[:n_series] for part in outcome))

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return labels (n,): the cluster with the largest q (Eq 6); -1 for a series without any observation."""
        return self.infer(X).labels

    def impute(self, X: Any) -> FloatArray:
        """Return X in its own shape, gaps filled by X_hat (Eq 3); NaN where a series has no observation."""
        return self.infer(X).filled.reshape(np.shape(X))

    def transform(self, X: Any) -> FloatArray:
        """Return the embedding z (n, E); NaN for a series without any observation."""
        series = self._check_series(X)
        embedding = np.full((len(series), self._n_features_out), np.nan, np.float32)
        for rows, _, found in self._in_batches(series, BLOCK):
            embedding[rows] = found.z.cpu().numpy()
        return embedding

    def _in_batches(
        self, series: FloatArray, batch_size: int
    ) -> Iterator[tuple[NDArray[np.int64], Tensor, DateInference]]:
        """Yield row numbers, series (T, C, n) and forward pass of every batch of series with an observation."""
        usable = np.flatnonzero(~np.isnan(series).all((1, 2)))
        for start in range(0, len(usable), batch_size):
            rows = usable[start : start + batch_size]
            dates = torch.from_numpy(np.ascontiguousarray(series[rows].transpose(1, 2, 0)))
            yield rows, dates, self.infer_dates(dates)

    def _check_series(self, X: Any) -> FloatArray:
        self._check_fitted()
        allowed = {"ensure_all_finite": False, "allow_nd": True, "ensure_min_samples": 0}
        series = as_series(validate_data(self, X, reset=False, dtype="numeric", **allowed))
        if series.shape[2] != self.n_channels_:
            raise ValueError(f"X has {series.shape[2]} channels; this model was trained on {self.n_channels_}")
        return series

    # ---- what scikit-learn asks

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"this {type(self).__name__} has not been trained: call fit, or {type(self).__name__}.load"
            )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def _n_features_out(self) -> int:
        return int(self.model_.centres.shape[1])


def _silent(_: TrainingReport) -> None:
    pass


def _scaled_parts(
    population: Callable[[], Iterator[FloatArray]],
    scaler: ChannelScaler,
    shape: tuple[int, ...],
    device: torch.device,
) -> Population:
    """Return the population in scaled tensors x, m, without the series that have no observation."""

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for part in population():
            series = as_series(part)
            if series.shape[1:] != shape:
                raise ValueError(
                    f"a part of the population has shape {np.shape(part)}; X has {shape[0]} dates, {shape[1]} channels"
                )
            usable = ~np.isnan(series).all((1, 2))
            if usable.any():
                yield observed_and_zeroed(scaler.transform(series[usable]), device)

    return parts


def _history_of_x(
    history: History, order: NDArray[np.int64], rows: NDArray[np.int64], scaler: ChannelScaler
) -> History:
    """Return the history of a training as its user sees it: clusters in their order, rows of X, data units."""
    updates = [update.copy() for update in history["updates"]]
    for update in updates:
        if "cluster_sizes" in update:
            update["cluster_sizes"] = [update["cluster_sizes"][j] for j in order]
    result: History = {**history, "updates": updates}
    if "snapshots" in history:
        snapshots = history["snapshots"]
        result["snapshots"] = {
            **snapshots,
            "rows": rows[snapshots["rows"]],
            "curve_rows": rows[snapshots["curve_rows"]],
            "curves": scaler.inverse(snapshots["curves"]),
        }
    return result
