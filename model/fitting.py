"""From scaled series to a trained model: pre-training, first centres, Algorithm 1."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.joint_model import JointModel
from model.networks import Autoencoder
from model.options import training_options
from model.pretraining import Progress, initial_centres, pretrain
from model.series import mean_filled
from model.training import JointTraining


class Fit(NamedTuple):
    """What training gives; clusters are numbered as k-means happened to find them."""

    model: JointModel
    labels: NDArray[np.int64]  # (n,)
    n_iter: int
    history: dict[str, Any]


def new_model(
    parameters: Mapping[str, Any], n_times: int, n_channels: int, rng: torch.Generator | None = None
) -> JointModel:
    """An untrained model as the estimator's parameters ask for it, with a discriminator only where w_gen is above 0."""
    return JointModel(
        n_times,
        n_channels,
        parameters["n_clusters"],
        parameters["hidden_size"],
        parameters["embedding_size"],
        adversarial=training_options(parameters).w_gen > 0,
        rng=rng,
    )


def fit_model(x: Tensor, m: Tensor, parameters: Mapping[str, Any], progress: Progress) -> Fit:
    """Train on scaled series x (n, T, C), 0 where the mask m is false, with the estimator's parameters."""
    rng = torch.Generator()
    if parameters["random_state"] is None:
        rng.seed()
    else:
        rng.manual_seed(parameters["random_state"])
    filled = mean_filled(x, m).flatten(1)
    autoencoder, pretraining, restarts = pretrain(
        filled,
        lambda: Autoencoder(filled.shape[1], parameters["embedding_size"], rng).to(x.device),
        epochs=parameters["pretrain_epochs"],
        batch_size=parameters["batch_size"],
        learning_rate=parameters["pretrain_learning_rate"],
        rng=rng,
        progress=progress,
    )
    centres, replaced = initial_centres(filled, autoencoder, parameters["n_clusters"], rng)
    model = new_model(parameters, x.shape[1], x.shape[2], rng).to(x.device)
    model.autoencoder = autoencoder
    with torch.no_grad():
        model.centres.copy_(centres)
        model.generator.bias_imp.copy_(x.sum((0, 1)) / m.sum((0, 1)))  # the first estimate is the data mean
    training = JointTraining(model, x, m, training_options(parameters), rng, progress)
    labels = training.run().labels.cpu().numpy()
    events = [*restarts, *replaced, *training.events]
    history = {"pretraining": pretraining, "updates": training.updates, "events": events}
    return Fit(model, labels, training.n_iter, history)
