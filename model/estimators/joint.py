"""The joint method of the paper, and what it shares with other methods that Algorithm 1 trains."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model.estimators.base import SeriesClustering
from model.networks.joint import new_model
from model.networks.series_model import SeriesModel
from model.series import FloatArray
from model.training.fit import fit_model
from model.training.progress import Progress
from model.training.target import Population
from model.training.trained import Trained


class DeepClustering(SeriesClustering):
    """Clustering by centres that are trained with the networks; q (Eq 6) is the probability of each cluster."""

    def predict_proba(self, X: Any) -> FloatArray:
        """Return q (n, K) of Eq 6; NaN for a series without any observation."""
        return self.infer(X).proba

    def new_model(self, n_times: int, n_channels: int) -> SeriesModel:
        """Return the untrained networks of this estimator for series of these sizes."""
        return new_model(self.training_parameters(), n_times, n_channels)

    @staticmethod
    def _train(
        x: Tensor,
        m: Tensor,
        parameters: Mapping[str, Any],
        progress: Progress,
        checkpoint: Path | None,
        population: Population | None,
    ) -> Trained:
        return fit_model(x, m, parameters, progress, checkpoint=checkpoint, population=population)


class JointClustering(DeepClustering):
    """Joint deep imputation and clustering of time series (Osa, Moser, Serpico, Zerubia): one network fills the gaps,
    embeds the series and assigns them to clusters, trained end to end without labels.

    Parameters left at None take the value of the preset:

    ========  ============  =====  =====  =============  ===========================  ====================  =========
    preset    start         w_clu  w_gen  learning_rate  discriminator_learning_rate  adversarial_interval  clip_norm
    ========  ============  =====  =====  =============  ===========================  ====================  =========
    "paper"   "paper"       1      1      0.01           0.01                         1                     10
    "stable"  "paper"       1      0.1    0.01           0.001                        1                     1
    "robust"  "components"  0.1    0.1    0.001          0.001                        20                    1
    ========  ============  =====  =====  =============  ===========================  ====================  =========

    "paper" is the published method, and the default; "robust" is what to use: on all data that it was measured on it
    is better, and nearly the same for every seed.

    Parameters
    ----------
    n_clusters : K, at least 1.
    n_iter, batch_size, target_interval : iterations of Algorithm 1, series in each, iterations between updates of P.
    start : what precedes Algorithm 1. "paper": the autoencoder is trained on mean-filled series, k-means on those finds
        the centres. "components": the generator is trained alone, the autoencoder starts as whitened principal
        components of what it fills, k-means on that finds the centres.
    pretrain_epochs, pretrain_learning_rate : of the autoencoder alone; start "paper".
    warm_up : iterations of the generator alone; start "components".
    hidden_size, embedding_size : H of the generator, E of the autoencoder. With H = 16 gaps are filled clearly better
        than by linear interpolation, with the paper's 5 they are not.
    preset : "paper", "stable" or "robust".
    adversarial : form of L_gen, "paper" (Eq 9 as printed) or "nonsaturating" (as CRLI's code).
    discriminator_input : "imputed" (X_hat) or "merged" (X_tilde).
    adversarial_interval : the game of generator and discriminator is played every so many iterations. 1 is the paper;
        it costs four fifths of an iteration's time.
    w_rec, w_pre, w_clu, w_gen : weights of Eq 10; w_gen = 0 trains without any discriminator.
    learning_rate : of SGD on generator, autoencoder and centres.
    discriminator_learning_rate : of Adam on the discriminator.
    clip_norm : largest norm of a step's gradient; 0 = no clipping.
    tol : training stops when fewer than this share of the labels changes between target updates, from the second
        interval on; 0 = never.
    target_memory : "assignments" keeps q of every training series, "frozen" a copy of the networks instead.
    device : "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
    random_state : int, numpy RandomState or None. The same number, data, machine and number of threads lead to the same
        weights; a RandomState draws the number and moves on.

    Attributes
    ----------
    labels_ (n,), as predict returns them; label 0 is the cluster that peaks earliest in the first channel.
    cluster_centers_ (K, E); cluster_profiles_ (K, T, C) mean observed curve of each cluster in data units;
    cluster_peaks_ (K,) time index of its maximum in the first channel.
    history_ : {"pretraining": {...}, "updates": [one dict a target update], "events": [restarts, returns, ...],
        "snapshots": {...}}, the last as arrays: "iterations" (S,) of some target updates, "rows" (W,) of X, their
        "embedding" (S, W, E); "curve_rows" (V,) of X, their "curves" (S, V, T, C): X_hat in data units.
    about_ : what the caller of `save` noted about the model.
    n_iter_, scaler_, n_times_, n_channels_, model_ (the torch module); n_features_in_ is the number of dates.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        n_iter: int = 3000,
        batch_size: int = 1000,
        target_interval: int = 140,
        pretrain_epochs: int = 100,
        warm_up: int = 2000,
        hidden_size: int = 5,
        embedding_size: int = 5,
        preset: str = "paper",
        start: str | None = None,
        adversarial: str = "paper",
        discriminator_input: str = "imputed",
        adversarial_interval: int | None = None,
        w_rec: float = 1.0,
        w_pre: float = 1.0,
        w_clu: float | None = None,
        w_gen: float | None = None,
        learning_rate: float | None = None,
        discriminator_learning_rate: float | None = None,
        pretrain_learning_rate: float = 0.1,
        clip_norm: float | None = None,
        tol: float = 0.0,
        target_memory: str = "assignments",
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.target_interval = target_interval
        self.pretrain_epochs = pretrain_epochs
        self.warm_up = warm_up
        self.hidden_size = hidden_size
        self.embedding_size = embedding_size
        self.preset = preset
        self.start = start
        self.adversarial = adversarial
        self.discriminator_input = discriminator_input
        self.adversarial_interval = adversarial_interval
        self.w_rec = w_rec
        self.w_pre = w_pre
        self.w_clu = w_clu
        self.w_gen = w_gen
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.pretrain_learning_rate = pretrain_learning_rate
        self.clip_norm = clip_norm
        self.tol = tol
        self.target_memory = target_memory
        self.device = device
        self.random_state = random_state

    def training_parameters(self) -> Mapping[str, Any]:
        """Return every parameter of the training: the constructor's, and those that this method fixes."""
        return {**self.get_params(), "filling": "network", "masked_reconstruction": True}
