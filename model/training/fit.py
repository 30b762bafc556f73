"""From scaled series to a trained model: pre-training, first centres, Algorithm 1."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.networks.joint import JointModel, new_model
from model.networks.networks import Autoencoder, Generator
from model.parameters import random_generator, training_options, with_preset
from model.series import mean_filled
from model.threads import one_thread
from model.training.algorithm import JointTraining
from model.training.components_start import centres_from_clusters, filled_by, start_from_components, warm_up
from model.training.history import Beginning
from model.training.pretraining import initial_centres, pretrain
from model.training.progress import Progress
from model.training.state import TrainingFolder, describe
from model.training.target import Population
from model.training.trained import Trained


@one_thread()
def fit_model(
    x: Tensor,
    m: Tensor,
    parameters: Mapping[str, Any],
    progress: Progress,
    *,
    checkpoint: Path | None = None,
    population: Population | None = None,
) -> Trained:
    """Train on scaled series x (n, T, C), 0 where the mask m is false, with the estimator's parameters.

    checkpoint: folder in which the state of training is kept at every target update. A training started again with
    the same data and parameters, but for n_iter and device, goes on from there, on a CPU of the same kind to the
    same bits; its first report to `progress` then has "resumed": True. The folder is the caller's to remove.
    population: each call streams all series over which f_j is summed, in parts (x, m) of any size, scaled as x is.

    Raises ValueError where the folder holds a state that is damaged or of another training, TrainingDiverged where no
    restart helped.
    """
    parameters = with_preset(parameters)
    folder = None
    if checkpoint is not None:
        folder = TrainingFolder(checkpoint, describe(x, m, parameters, population=population is not None))
    state = folder.read(parameters["n_iter"]) if folder is not None else None
    rng = random_generator(parameters["random_state"])
    if state is None:
        model, before = _begin(x, m, parameters, rng, progress)
    else:
        model, before = new_model(parameters, x.shape[1], x.shape[2], rng).to(x.device), None
    training = JointTraining(
        model,
        x,
        m,
        training_options(parameters),
        rng,
        progress,
        before=before,
        population=population,
        keep=None if folder is None else folder.write,
    )
    if state is not None:
        training.restore(state)
        total = parameters["n_iter"]
        progress({"phase": "joint", "step": training.n_iter, "total": total, "losses": {}, "resumed": True})
    labels = training.run().labels.cpu().numpy()
    return Trained(model, labels, training.n_iter, training.history)


def _begin(
    x: Tensor, m: Tensor, parameters: Mapping[str, Any], rng: torch.Generator, progress: Progress
) -> tuple[JointModel, Beginning]:
    """Return a model with a first autoencoder and centres, and the records of how they were made."""
    begin = _begin_from_components if parameters["start"] == "components" else _begin_as_published
    return begin(x, m, parameters, rng, progress)


def _begin_as_published(
    x: Tensor, m: Tensor, parameters: Mapping[str, Any], rng: torch.Generator, progress: Progress
) -> tuple[JointModel, Beginning]:
    """Start from mean-filled series: autoencoder and centres are trained, the generator has learned nothing."""
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
    model.generator.start_from(x, m)
    return model, {"pretraining": pretraining, "events": [*restarts, *replaced]}


def _begin_from_components(
    x: Tensor, m: Tensor, parameters: Mapping[str, Any], rng: torch.Generator, progress: Progress
) -> tuple[JointModel, Beginning]:
    """Start from components: the generator is trained, autoencoder and centres follow from what it fills."""
    model = new_model(parameters, x.shape[1], x.shape[2], rng).to(x.device)
    generator = model.generator
    assert isinstance(generator, Generator)  # only the joint method, which has one, starts like this
    record, events = warm_up(
        generator, x, m, steps=parameters["warm_up"], batch_size=parameters["batch_size"], rng=rng,
        progress=progress,
    )  # fmt: skip
    filled = filled_by(generator, x, m).flatten(1)
    start_from_components(model.autoencoder, filled)
    centres, replaced = centres_from_clusters(filled, model.autoencoder, parameters["n_clusters"], rng)
    with torch.no_grad():
        model.centres.copy_(centres)
    return model, {"pretraining": record, "events": [*events, *replaced]}
