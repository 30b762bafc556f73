"""Mean imputation followed by deep embedded clustering: the first baseline of the paper's Table I."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.estimators.joint import DeepClustering, JointClustering


class MeanDEC(DeepClustering):
    """Deep embedded clustering of mean-filled series: the joint method without generator and discriminator.

    Gaps take the mean of their series in the channel; a channel that a series never observed takes the training mean of
    the channel. Autoencoder, pre-training, first centres, target and optimiser are those of `JointClustering`. The
    autoencoder reconstructs all cells of the filled series (Eq 7 without the mask).

    Parameters are a part of those of `JointClustering` and mean the same:

    Parameters
    ----------
    n_clusters : K, at least 1.
    n_iter, batch_size, target_interval : iterations, series in each, iterations between updates of P.
    pretrain_epochs, pretrain_learning_rate : of the autoencoder alone.
    embedding_size : E of the autoencoder.
    w_rec, w_clu : weights of the two losses.
    learning_rate : of SGD on autoencoder and centres.
    clip_norm : largest norm of a step's gradient; 0 = no clipping.
    tol : training stops when fewer than this share of the labels changes between target updates; 0 = never.
    target_memory : "assignments" keeps q of every training series, "frozen" a copy of the networks instead.
    device : "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
    random_state : int, numpy RandomState or None.

    Attributes: as `JointClustering` has them.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        n_iter: int = 3000,
        batch_size: int = 1000,
        target_interval: int = 140,
        pretrain_epochs: int = 100,
        embedding_size: int = 5,
        w_rec: float = 1.0,
        w_clu: float = 1.0,
        learning_rate: float = 0.01,
        pretrain_learning_rate: float = 0.1,
        clip_norm: float = 10.0,
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
        self.embedding_size = embedding_size
        self.w_rec = w_rec
        self.w_clu = w_clu
        self.learning_rate = learning_rate
        self.pretrain_learning_rate = pretrain_learning_rate
        self.clip_norm = clip_norm
        self.tol = tol
        self.target_memory = target_memory
        self.device = device
        self.random_state = random_state

    def training_parameters(self) -> Mapping[str, Any]:
        """Return every parameter of the training: the constructor's, and those that this method fixes."""
        fixed = {"filling": "mean", "masked_reconstruction": False, "w_pre": 0.0, "w_gen": 0.0}
        return {**JointClustering().get_params(), **self.get_params(), **fixed}
