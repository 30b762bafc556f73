"""CRLI followed by k-means: the second baseline of the paper's Table I."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model.estimators.base import SeriesClustering
from model.networks.series_model import SeriesModel
from model.training.crli import fit_crli, new_crli
from model.training.progress import Progress
from model.training.target import Population
from model.training.trained import Trained


class CRLI(SeriesClustering):
    """Clustering of representations of incomplete series (Ma, Chen, Li, Cottrell, "Learning Representations for
    Incomplete Time Series Clustering", AAAI 2021): gaps are filled by an adversarially trained generator, a recurrent
    autoencoder makes a latent of each series that a k-means loss draws together, and k-means clusters the latents.

    Generator and discriminator are those of `JointClustering`; both sides have their own Adam. Labels are hard: there
    is no `predict_proba`, and `infer` returns 1 for the nearest centre and 0 for the others.

    Parameters
    ----------
    n_clusters : K, at least 1.
    n_iter, batch_size : iterations, and series in each. After 1500 iterations on two sets of a few hundred series with
        45 % gaps the reconstruction loss was a fifth and a twentieth of that of the first hundred and nearly level.
    hidden_size, latent_size : H of the generator, D of the autoencoder.
    adversarial : form of L_gen, "nonsaturating" (as CRLI's code) or "paper" (Eq 9 of the joint method as printed).
    discriminator_input : "merged" (X_tilde, as CRLI's code) or "imputed" (X_hat).
    w_rec, w_pre, w_gen : weights of reconstruction, prediction and adversarial loss, each a sum over the cells of a
        series and a mean over the batch; w_gen = 0 trains without any discriminator.
    lambda_kmeans : weight of the k-means loss, a sum over the batch as CRLI defines it.
    learning_rate, discriminator_learning_rate : of the two Adams.
    clip_norm : largest norm of a step's gradient; 0 = no clipping.
    device : "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1", ...
    random_state : int, numpy RandomState or None.

    Attributes: as `JointClustering` has them, cluster_centers_ (K, D) being those of k-means, an update of history_
    {"iteration", "losses"} every 100 iterations, and no snapshots.
    """

    def __init__(
        self,
        n_clusters: int = 2,
        *,
        n_iter: int = 1500,
        batch_size: int = 1000,
        hidden_size: int = 5,
        latent_size: int = 10,
        adversarial: str = "nonsaturating",
        discriminator_input: str = "merged",
        w_rec: float = 1.0,
        w_pre: float = 1.0,
        w_gen: float = 1.0,
        lambda_kmeans: float = 1e-3,
        learning_rate: float = 0.005,
        discriminator_learning_rate: float = 0.005,
        clip_norm: float = 10.0,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_iter = n_iter
        self.batch_size = batch_size
        self.hidden_size = hidden_size
        self.latent_size = latent_size
        self.adversarial = adversarial
        self.discriminator_input = discriminator_input
        self.w_rec = w_rec
        self.w_pre = w_pre
        self.w_gen = w_gen
        self.lambda_kmeans = lambda_kmeans
        self.learning_rate = learning_rate
        self.discriminator_learning_rate = discriminator_learning_rate
        self.clip_norm = clip_norm
        self.device = device
        self.random_state = random_state

    def training_parameters(self) -> Mapping[str, Any]:
        """Return every parameter of the training: those of the constructor."""
        return self.get_params()

    def new_model(self, n_times: int, n_channels: int) -> SeriesModel:
        """Return the untrained networks of this estimator for series of these sizes."""
        return new_crli(self.training_parameters(), n_times, n_channels)

    @staticmethod
    def _train(
        x: Tensor,
        m: Tensor,
        parameters: Mapping[str, Any],
        progress: Progress,
        checkpoint: Path | None,
        population: Population | None,
    ) -> Trained:
        if population is not None:
            raise ValueError("CRLI has no target whose cluster sizes could be summed over a population; leave it out")
        return fit_crli(x, m, parameters, progress, checkpoint)
