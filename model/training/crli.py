"""Training of CRLI: generator and autoencoder against the discriminator, each with its own Adam, then k-means."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from model.losses import discriminator_loss, generator_loss, prediction_loss, reconstruction_loss
from model.networks.crli import CRLIModel, kmeans_loss, nearest
from model.parameters import random_generator
from model.threads import one_thread
from model.training.batches import Batches
from model.training.history import EventRecord, History, UpdateRecord, no_beginning
from model.training.pretraining import smallest_distance
from model.training.progress import Progress, report_iteration
from model.training.safeguards import Safeguards
from model.training.state import State, TrainingFolder, below, describe, prefixed
from model.training.trained import Trained

log = logging.getLogger(__name__)

LOSSES = ("rec", "pre", "kmeans", "dis", "gen")
UPDATE_EVERY = 100  # iterations between two records of the losses
CHUNK = 4096  # series in one pass of the networks where no gradient is needed


class CRLITraining:
    """One training of CRLI on x, m (n, T, C)."""

    def __init__(
        self,
        model: CRLIModel,
        x: Tensor,
        m: Tensor,
        parameters: Mapping[str, Any],
        rng: torch.Generator,
        progress: Progress,
    ) -> None:
        self.model, self.x, self.m, self.parameters, self.progress = model, x, m, parameters, progress
        self.optimiser = torch.optim.Adam(model.generator_side(), parameters["learning_rate"])
        self.discriminator_optimiser: torch.optim.Adam | None = None
        optimisers: dict[str, torch.optim.Optimizer] = {"optimiser": self.optimiser}
        if model.discriminator is not None:
            rate = parameters["discriminator_learning_rate"]
            self.discriminator_optimiser = torch.optim.Adam(model.discriminator.parameters(), rate)
            optimisers["discriminator_optimiser"] = self.discriminator_optimiser
        advice = f"w_gen=0 or a learning_rate below {parameters['learning_rate']:g}"
        self.safeguards = Safeguards(model, optimisers, parameters["clip_norm"], advice)
        self.batches = Batches(len(x), parameters["batch_size"], rng)
        self.updates: list[UpdateRecord] = []
        self.n_iter = 0
        self._losses: list[Tensor] = []  # of the iterations since the last update

    @property
    def events(self) -> list[EventRecord]:
        """Return the records of returns to earlier states."""
        return self.safeguards.events

    def run(self, folder: TrainingFolder | None = None) -> None:
        """Train to n_iter iterations; `folder` keeps the state at every update, and training goes on from it."""
        total = self.parameters["n_iter"]
        state = folder.read(total) if folder else None
        if state is not None:
            self._restore(state)
        while self.n_iter < total:
            self.n_iter += 1
            losses = self.iterate(next(self.batches).to(self.x.device))
            if losses is None:
                self.safeguards.return_from_not_finite(self.n_iter)
            else:
                self._losses.append(losses)
            report_iteration(self.progress, self.n_iter, total, LOSSES, losses)
            if self.n_iter % UPDATE_EVERY == 0 or self.n_iter == total:
                self._update()
                if folder is not None and self.n_iter % UPDATE_EVERY == 0:  # so that a higher n_iter can go on from it
                    folder.write(self._state())

    def iterate(self, rows: Tensor) -> Tensor | None:
        """Take both steps on one batch of series, whose row numbers (B,) are given.

        Returns the losses in the order of LOSSES, or None where one, or its gradient, is not finite.
        """
        parameters, discriminator, step = self.parameters, self.model.discriminator, self.safeguards.step
        x, m = self.x[rows], self.m[rows]
        outcome = self.model(x, m)  # one forward pass of the generator serves both steps
        if not bool(torch.isfinite(outcome.z.detach()).all()):
            return None  # the eigenvectors of the k-means loss would not exist
        judged = outcome.x_tilde if parameters["discriminator_input"] == "merged" else outcome.x_hat
        loss_dis = loss_gen = x.new_zeros(())
        if discriminator is not None and self.discriminator_optimiser is not None:
            loss_dis = discriminator_loss(discriminator(judged.detach()), m)
            if not step(loss_dis, self.discriminator_optimiser):
                return None
            discriminator.requires_grad_(False)
            loss_gen = generator_loss(discriminator(judged), m, parameters["adversarial"])
            discriminator.requires_grad_(True)
        loss_pre = prediction_loss(x, outcome.x_hat, m)
        loss_rec = reconstruction_loss(outcome.x_tilde, self.model.autoencoder.decode(outcome.z), m)
        loss_kmeans = kmeans_loss(outcome.z, parameters["n_clusters"])
        loss = (
            parameters["w_pre"] * loss_pre
            + parameters["w_rec"] * loss_rec
            + parameters["w_gen"] * loss_gen
            + parameters["lambda_kmeans"] * loss_kmeans
        )
        if not step(loss, self.optimiser):
            return None
        return torch.stack((loss_rec, loss_pre, loss_kmeans, loss_dis, loss_gen)).detach()

    def _update(self) -> None:
        """Record the mean losses since the update before, and keep the state as the last good one."""
        means = torch.stack(self._losses).double().mean(0).tolist() if self._losses else [None] * len(LOSSES)
        losses = dict(zip(LOSSES, means, strict=True))
        if self.model.discriminator is None:
            losses |= {"dis": None, "gen": None}
        self.updates.append({"iteration": self.n_iter, "losses": losses})
        log.info("CRLI %s", self.updates[-1])
        self._losses = []
        self.safeguards.keep_good()

    def _state(self) -> State:
        """Return all that `_restore` needs, at an update."""
        tensors = prefixed("weights", self.safeguards.last_good) | prefixed("batches", self.batches.tensors())
        return State(
            tensors,
            {"n_iter": self.n_iter, "before": no_beginning(), "updates": self.updates, "events": self.events},
        )

    def _restore(self, state: State) -> None:
        tensors, numbers = state
        self.n_iter, self.updates = numbers["n_iter"], numbers["updates"]
        self.safeguards.events = numbers["events"]
        self.safeguards.restore(below("weights", tensors), returns=len(self.events))
        self.batches.restore(below("batches", tensors))


@one_thread()
def fit_crli(
    x: Tensor, m: Tensor, parameters: Mapping[str, Any], progress: Progress, checkpoint: Path | None
) -> Trained:
    """Train on scaled series x (n, T, C), 0 where the mask m is false, with the estimator's parameters.

    checkpoint: folder in which the state of training is kept, see `fit_model`.
    """
    rng = random_generator(parameters["random_state"])
    model = new_crli(parameters, x.shape[1], x.shape[2], rng).to(x.device)
    model.generator.start_from(x, m)
    training = CRLITraining(model, x, m, parameters, rng, progress)
    folder = None if checkpoint is None else TrainingFolder(checkpoint, describe(x, m, parameters, population=False))
    training.run(folder)
    seed = int(torch.randint(2**31, (), generator=rng))
    latents = _latents(model, x, m)
    with torch.no_grad():
        model.centres.copy_(_kmeans(latents, parameters["n_clusters"], seed))
        labels = nearest(latents.to(x.device), model.centres).argmax(1).cpu().numpy()
    events = [*training.events]
    if parameters["n_clusters"] > 1 and smallest_distance(model.centres) == 0:
        log.warning("the latents of the series are fewer than the clusters: some clusters stay empty")
        events.append({"event": "centres coincide", "distance": 0.0})
    history: History = {"pretraining": {"losses": []}, "updates": training.updates, "events": events}
    return Trained(model, labels, training.n_iter, history)


def new_crli(
    parameters: Mapping[str, Any], n_times: int, n_channels: int, rng: torch.Generator | None = None
) -> CRLIModel:
    """Return an untrained model as the parameters ask for it, with a discriminator only where w_gen is above 0."""
    return CRLIModel(
        n_times,
        n_channels,
        parameters["n_clusters"],
        parameters["hidden_size"],
        parameters["latent_size"],
        adversarial=parameters["w_gen"] > 0,
        rng=rng,
    )


@torch.no_grad()
def _latents(model: CRLIModel, x: Tensor, m: Tensor) -> Tensor:
    """Return the latents (n, D) of all training series, on the CPU."""
    return torch.cat([model(*part).z.cpu() for part in zip(x.split(CHUNK), m.split(CHUNK), strict=True)])


def _kmeans(latents: Tensor, n_clusters: int, seed: int) -> Tensor:
    """Return centres (K, D) of k-means on one thread: the order of a parallel sum changes the last bits."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer latents than clusters: see fit_crli
        fitted = KMeans(n_clusters, n_init=20, random_state=seed).fit(latents.numpy())
    return torch.from_numpy(fitted.cluster_centers_)
