"""Training of CRLI: generator and autoencoder against the discriminator, each with its own Adam, then k-means."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from model.losses import discriminator_loss, generator_loss, prediction_loss, reconstruction_loss
from model.networks.crli import CRLIModel, kmeans_loss, nearest
from model.training.batches import Batches
from model.training.pretraining import Progress, TrainingDiverged, smallest_distance
from model.training.state import State, TrainingFolder, below, describe, prefixed, read_state, write_state

log = logging.getLogger(__name__)

LOSSES = ("rec", "pre", "kmeans", "dis", "gen")
UPDATE_EVERY = 100  # iterations between two records of the losses
REPORT_EVERY = 10  # iterations between two calls of progress
MAX_NOT_FINITE = 10
CHUNK = 4096  # series in one pass of the networks where no gradient is needed


class CRLITraining:
    """One training of CRLI on x, m (n, T, C); `updates` and `events` tell what happened."""

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
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "optimiser": torch.optim.Adam(model.generator_side(), parameters["learning_rate"])
        }
        if model.discriminator is not None:
            rate = parameters["discriminator_learning_rate"]
            self.optimisers["discriminator_optimiser"] = torch.optim.Adam(model.discriminator.parameters(), rate)
        self.stream = Batches(len(x), parameters["batch_size"], rng)
        self.updates: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.n_iter = 0
        self._losses: list[Tensor] = []  # of the iterations since the last update
        self._last_good = read_state(model, self.optimisers)

    def run(self, folder: TrainingFolder | None = None) -> None:
        """Train to n_iter iterations; `folder` keeps the state at every update and is where training goes on from."""
        total = self.parameters["n_iter"]
        state = folder.read(total) if folder else None
        if state is not None:
            self._restore(state)
        while self.n_iter < total:
            self.n_iter += 1
            losses = self._iterate(next(self.stream).to(self.x.device))
            if losses is None:
                self._return_from_not_finite()
            else:
                self._losses.append(losses)
            if self.n_iter % REPORT_EVERY == 0 or self.n_iter == total:
                shown = {} if losses is None else dict(zip(LOSSES, losses.tolist(), strict=True))
                self.progress({"phase": "joint", "step": self.n_iter, "total": total, "losses": shown})
            if self.n_iter % UPDATE_EVERY == 0 or self.n_iter == total:
                self._update()
                if folder is not None and self.n_iter % UPDATE_EVERY == 0:  # so that a higher n_iter can go on from it
                    folder.write(self._state())

    # ---- one iteration

    def _iterate(self, rows: Tensor) -> Tensor | None:
        """Both steps on one batch; the losses in the order of LOSSES, or None where something is not finite."""
        parameters, discriminator = self.parameters, self.model.discriminator
        x, m = self.x[rows], self.m[rows]
        outcome = self.model(x, m)  # one forward pass of the generator serves both steps
        if not bool(torch.isfinite(outcome.z.detach()).all()):
            return None  # the eigenvectors of the k-means loss would not exist
        judged = outcome.x_tilde if parameters["discriminator_input"] == "merged" else outcome.x_hat
        loss_dis = loss_gen = x.new_zeros(())
        if discriminator is not None:
            loss_dis = discriminator_loss(discriminator(judged.detach()), m)
            if not self._step(loss_dis, self.optimisers["discriminator_optimiser"]):
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
        if not self._step(loss, self.optimisers["optimiser"]):
            return None
        return torch.stack((loss_rec, loss_pre, loss_kmeans, loss_dis, loss_gen)).detach()

    def _step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> bool:
        """One optimiser step with clipped gradient; False, and no step, where loss or gradient is not finite."""
        optimiser.zero_grad()
        loss.backward()
        weights = [p for group in optimiser.param_groups for p in group["params"]]
        norm = clip_grad_norm_(weights, self.parameters["clip_norm"] or float("inf"))
        if not bool(torch.isfinite(loss.detach() + norm)):
            return False
        optimiser.step()
        return True

    # ---- records and returns

    def _update(self) -> None:
        """Note the mean losses since the update before, and keep the state as the last good one."""
        means = torch.stack(self._losses).double().mean(0).tolist() if self._losses else [None] * len(LOSSES)
        losses = dict(zip(LOSSES, means, strict=True))
        if self.model.discriminator is None:
            losses |= {"dis": None, "gen": None}
        self.updates.append({"iteration": self.n_iter, "losses": losses})
        log.info("CRLI %s", self.updates[-1])
        self._losses = []
        self._last_good = read_state(self.model, self.optimisers)

    def _return_from_not_finite(self) -> None:
        """Restore the last good state and halve both learning rates."""
        factor = 0.5 ** (len(self.events) + 1)
        write_state(self._last_good, self.model, self.optimisers)
        self._set_learning_rates(factor)
        rate = self.parameters["learning_rate"] * factor
        self.events.append({"event": "loss not finite", "iteration": self.n_iter, "learning_rate": rate})
        log.warning("loss not finite at iteration %d: back to an earlier state, learning rate %g", self.n_iter, rate)
        if len(self.events) > MAX_NOT_FINITE:
            raise TrainingDiverged(
                f"the loss was not finite {len(self.events)} times, last at iteration {self.n_iter}, although every "
                "return to an earlier state halved the learning rates; try w_gen=0 or a learning_rate below "
                f"{self.parameters['learning_rate']:g}"
            )

    def _set_learning_rates(self, factor: float) -> None:
        names = {"optimiser": "learning_rate", "discriminator_optimiser": "discriminator_learning_rate"}
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.parameters[names[name]] * factor

    # ---- state, for a training that goes on

    def _state(self) -> State:
        before = {"pretraining": {"losses": []}, "events": []}
        numbers = {"n_iter": self.n_iter, "before": before, "updates": self.updates, "events": self.events}
        tensors = prefixed("weights", self._last_good) | prefixed("batches", self.stream.tensors())
        return State(tensors, numbers)

    def _restore(self, state: State) -> None:
        self._last_good = below("weights", state.tensors)
        write_state(self._last_good, self.model, self.optimisers)
        self.stream.restore(below("batches", state.tensors))
        self.n_iter, self.updates, self.events = (state.numbers[name] for name in ("n_iter", "updates", "events"))
        self._set_learning_rates(0.5 ** len(self.events))


def fit_crli(
    x: Tensor, m: Tensor, parameters: Mapping[str, Any], progress: Progress, checkpoint: Path | None
) -> tuple[CRLIModel, NDArray[np.int64], int, dict[str, Any]]:
    """Train on scaled series x, m (n, T, C): the model, labels (n,), iterations and history."""
    rng = torch.Generator()
    if parameters["random_state"] is None:
        rng.seed()
    else:
        rng.manual_seed(parameters["random_state"])
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
    events = list(training.events)
    if parameters["n_clusters"] > 1 and smallest_distance(model.centres) == 0:
        log.warning("the latents of the series are fewer than the clusters: some clusters stay empty")
        events.append({"event": "centres coincide", "distance": 0.0})
    history = {"pretraining": {"losses": []}, "updates": training.updates, "events": events}
    return model, labels, training.n_iter, history


def new_crli(
    parameters: Mapping[str, Any], n_times: int, n_channels: int, rng: torch.Generator | None = None
) -> CRLIModel:
    """An untrained model as the parameters ask for it, with a discriminator only where w_gen is above 0."""
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
    """Latents (n, D) of all training series, on the CPU."""
    return torch.cat([model(*part).z.cpu() for part in zip(x.split(CHUNK), m.split(CHUNK), strict=True)])


def _kmeans(latents: Tensor, n_clusters: int, seed: int) -> Tensor:
    """Centres (K, D); one thread, since the order of a parallel sum changes the last bits."""
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer latents than clusters: told as an event
        fitted = KMeans(n_clusters, n_init=20, random_state=seed).fit(latents.numpy())
    return torch.from_numpy(fitted.cluster_centers_)
