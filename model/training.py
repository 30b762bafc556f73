"""Joint training: Algorithm 1 of the paper, watched so that a diverging adversarial game cannot ruin the result."""

import copy
import logging
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from model.assignment import target_distribution
from model.joint_model import JointModel
from model.losses import cluster_loss, discriminator_loss, generator_loss, prediction_loss, reconstruction_loss
from model.pretraining import Progress, TrainingDiverged, batches, smallest_distance
from model.survey import Survey, take_survey

log = logging.getLogger(__name__)

LOSSES = ("rec", "pre", "clu", "dis", "gen")
DIVERGED = 3.0  # L_pre over the training set above this many times its best
NOT_FINITE = "loss not finite"
MAX_NOT_FINITE = 10
REPORT_EVERY = 10  # iterations between two calls of progress


@dataclass(frozen=True)
class TrainingOptions:
    """What Algorithm 1 needs to know; the estimator documents each."""

    n_iter: int
    batch_size: int
    target_interval: int
    target_memory: str
    tol: float
    adversarial: str
    discriminator_input: str
    adversarial_interval: int
    masked_reconstruction: bool  # L_rec of observed cells alone
    w_rec: float
    w_pre: float
    w_clu: float
    w_gen: float
    learning_rate: float
    discriminator_learning_rate: float
    clip_norm: float


class JointTraining:
    """One run of Algorithm 1 on x, m (n, T, C); `updates` and `events` tell what happened."""

    def __init__(
        self,
        model: JointModel,
        x: Tensor,
        m: Tensor,
        options: TrainingOptions,
        rng: torch.Generator,
        progress: Progress,
    ) -> None:
        self.model, self.x, self.m, self.options, self.progress = model, x, m, options, progress
        self.optimiser = torch.optim.SGD(model.clustering_parameters(), options.learning_rate)
        self.discriminator_optimiser: torch.optim.Adam | None = None
        if model.discriminator is not None:
            rate = options.discriminator_learning_rate
            self.discriminator_optimiser = torch.optim.Adam(model.discriminator.parameters(), rate)
        self.stream = batches(x.shape[0], options.batch_size, rng)
        self.updates: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.n_iter = 0
        self._loss_sum = torch.zeros(len(LOSSES), device=x.device)
        self._loss_count = torch.zeros(len(LOSSES), device=x.device)  # of each loss: the game is not always played
        self._best_prediction_loss = float("inf")
        self._best = self._last_good = self._state()

    def run(self) -> Survey:
        """Train to n_iter iterations, or until fewer than `tol` of the labels change; the survey of the final state."""
        total = self.options.n_iter
        survey = self._update_target(None)
        while self.n_iter < total:
            self.n_iter += 1
            losses = self._iterate(next(self.stream).to(self.x.device), survey)
            if losses is None:
                self._return_from_not_finite()
            else:
                self._loss_sum += losses
                self._loss_count += self._losses_of(self.n_iter)
            if self.n_iter % REPORT_EVERY == 0 or self.n_iter == total:
                shown = {} if losses is None else dict(zip(LOSSES, losses.tolist(), strict=True))
                self.progress({"phase": "joint", "step": self.n_iter, "total": total, "losses": shown})
            if self.n_iter % self.options.target_interval == 0 or self.n_iter == total:
                survey = self._update_target(survey)
                if self.updates[-1]["label_change"] < self.options.tol:
                    break
        return survey

    # ---- one iteration

    def _is_played(self, iteration: int) -> bool:
        """Whether the adversarial game, both its steps, is part of an iteration (counted from 1)."""
        return self.model.discriminator is not None and iteration % self.options.adversarial_interval == 0

    def _losses_of(self, iteration: int) -> Tensor:
        """Which of LOSSES an iteration computes, as 0 and 1."""
        played = float(self._is_played(iteration))
        return self._loss_sum.new_tensor([1, 1, 1, played, played])

    def _iterate(self, rows: Tensor, survey: Survey) -> Tensor | None:
        """Both steps on one batch; the losses in the order of LOSSES, or None where something is not finite."""
        options = self.options
        discriminator = self.model.discriminator if self._is_played(self.n_iter) else None
        x, m = self.x[rows], self.m[rows]
        outcome = self.model(x, m)  # one forward pass of the generator serves both steps
        judged = outcome.x_tilde if options.discriminator_input == "merged" else outcome.x_hat
        loss_dis = loss_gen = x.new_zeros(())
        if discriminator is not None and self.discriminator_optimiser is not None:
            loss_dis = discriminator_loss(discriminator(judged.detach()), m)
            if not self._step(loss_dis, self.discriminator_optimiser):
                return None
            discriminator.requires_grad_(False)
            loss_gen = generator_loss(discriminator(judged), m, options.adversarial)
            discriminator.requires_grad_(True)
        loss_pre = prediction_loss(x, outcome.x_hat, m)
        counted = m if options.masked_reconstruction else torch.ones_like(m)
        loss_rec = reconstruction_loss(outcome.x_tilde, self.model.autoencoder.decode(outcome.z), counted)
        p = target_distribution(survey.assign(rows, x, m), survey.cluster_sizes)
        loss_clu = cluster_loss(p, outcome.q)
        loss = (  # Eq 10
            options.w_pre * loss_pre + options.w_rec * loss_rec + options.w_clu * loss_clu + options.w_gen * loss_gen
        )
        if not self._step(loss, self.optimiser):
            return None
        return torch.stack((loss_rec, loss_pre, loss_clu, loss_dis, loss_gen)).detach()

    def _step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> bool:
        """One optimiser step with clipped gradient; False, and no step, where loss or gradient is not finite."""
        optimiser.zero_grad()
        loss.backward()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, self.options.clip_norm or float("inf"))
        if not bool(torch.isfinite(loss.detach() + norm)):
            return False
        optimiser.step()
        return True

    # ---- target updates

    def _update_target(self, before: Survey | None) -> Survey:
        """Survey the training set for a new P, note the state of training, and leave a state that has diverged."""
        survey = take_survey(self.model, self.x, self.m, self.options.target_memory)
        if not survey.prediction_loss <= DIVERGED * self._best_prediction_loss:  # also where it is NaN
            self._return_to(self._best, "prediction loss diverged", survey.prediction_loss)
            survey = take_survey(self.model, self.x, self.m, self.options.target_memory)
        self._last_good = self._state()
        if survey.prediction_loss < self._best_prediction_loss:
            self._best_prediction_loss, self._best = survey.prediction_loss, self._last_good
        self._record(survey, before)
        return survey

    def _record(self, survey: Survey, before: Survey | None) -> None:
        means, counts = (self._loss_sum / self._loss_count.clamp(min=1)).tolist(), self._loss_count.tolist()
        update = {
            "iteration": self.n_iter,
            # means over the iterations since the update before that computed them; there are none at the first
            "losses": {name: mean if n else None for name, mean, n in zip(LOSSES, means, counts, strict=True)},
            "prediction_loss": survey.prediction_loss,
            "label_change": None if before is None else float((survey.labels != before.labels).double().mean()),
            "cluster_sizes": torch.bincount(survey.labels, minlength=len(self.model.centres)).tolist(),
            "centre_distance": smallest_distance(self.model.centres),
        }
        self._loss_sum.zero_()
        self._loss_count.zero_()
        self.updates.append(update)
        log.info("target update %s", update)

    # ---- returning to an earlier state

    def _state(self) -> dict[str, Any]:
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        if self.discriminator_optimiser is not None:
            state["discriminator_optimiser"] = self.discriminator_optimiser.state_dict()
        return copy.deepcopy(state)

    def _return_from_not_finite(self) -> None:
        self._return_to(self._last_good, NOT_FINITE)
        if sum(event["event"] == NOT_FINITE for event in self.events) > MAX_NOT_FINITE:
            raise TrainingDiverged(
                f"the loss was not finite {MAX_NOT_FINITE + 1} times, last at iteration {self.n_iter}, although every "
                'return to an earlier state halved the learning rates; try preset="stable", w_gen=0 or a '
                f"learning_rate below {self.options.learning_rate:g}"
            )

    def _return_to(self, state: dict[str, Any], reason: str, prediction_loss: float | None = None) -> None:
        """Restore a state and halve both learning rates."""
        factor = 0.5 ** (len(self.events) + 1)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(copy.deepcopy(state["optimiser"]))
        self.optimiser.param_groups[0]["lr"] = self.options.learning_rate * factor
        if self.discriminator_optimiser is not None:
            self.discriminator_optimiser.load_state_dict(copy.deepcopy(state["discriminator_optimiser"]))
            self.discriminator_optimiser.param_groups[0]["lr"] = self.options.discriminator_learning_rate * factor
        event: dict[str, Any] = {
            "event": reason,
            "iteration": self.n_iter,
            "learning_rate": self.options.learning_rate * factor,
        }
        if prediction_loss is not None:
            event["prediction_loss"] = prediction_loss if math.isfinite(prediction_loss) else None
            event["best_prediction_loss"] = self._best_prediction_loss
        self.events.append(event)
        log.warning(
            "%s at iteration %d: back to an earlier state, learning rate now %g",
            reason,
            self.n_iter,
            event["learning_rate"],
        )
