"""Joint training: Algorithm 1 of the paper, watched so that a diverging adversarial game cannot ruin the result."""

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from model.losses import (
    cluster_loss,
    discriminator_loss,
    generator_loss,
    prediction_loss,
    reconstruction_loss,
    target_distribution,
)
from model.networks.joint import JointModel
from model.parameters import TrainingOptions
from model.training.batches import Batches
from model.training.pretraining import Progress, TrainingDiverged, smallest_distance
from model.training.snapshots import Snapshots
from model.training.state import State, Tensors, below, prefixed, read_state, write_state
from model.training.target import Population, TargetUpdate, update_target

log = logging.getLogger(__name__)

LOSSES = ("rec", "pre", "clu", "dis", "gen")
NEGLIGIBLE_LOSS = 1e-8  # L_pre that constant series leave: three times of it mean nothing
DIVERGED = 3.0  # L_pre over the training set above this many times its best
PREDICTION_DIVERGED = "prediction loss diverged"
NOT_FINITE = "loss not finite"
MAX_NOT_FINITE = 10
STOPPED_EARLY = "stopped early"
MIN_INTERVALS = 2  # target intervals before training may stop early: labels rest while centres have hardly moved
SAME_SIZES = 1e-4  # relative difference of f_j that another machine may make; another population makes more
REPORT_EVERY = 10  # iterations between two calls of progress


class JointTraining:
    """One run of Algorithm 1 on x, m (n, T, C).

    `before` is what happened before: {"pretraining": record, "events": [...]}. `population` streams all series over
    which f_j is summed, where that is not x alone. `keep` is called with the `State` of every target update.
    """

    def __init__(
        self,
        model: JointModel,
        x: Tensor,
        m: Tensor,
        options: TrainingOptions,
        rng: torch.Generator,
        progress: Progress,
        *,
        before: dict[str, Any] | None = None,
        population: Population | None = None,
        keep: Callable[[State], None] | None = None,
    ) -> None:
        self.model, self.x, self.m, self.options, self.progress = model, x, m, options, progress
        self.before = before or {"pretraining": {"losses": []}, "events": []}
        self.population, self.keep = population, keep
        self.optimiser = torch.optim.SGD(model.clustering_parameters(), options.learning_rate)
        self.discriminator_optimiser: torch.optim.Adam | None = None
        if model.discriminator is not None:
            rate = options.discriminator_learning_rate
            self.discriminator_optimiser = torch.optim.Adam(model.discriminator.parameters(), rate)
        self.stream = Batches(x.shape[0], options.batch_size, rng)
        self.snapshots = Snapshots(x.shape[0], rng.initial_seed())
        self.updates: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.n_iter = 0
        self._returns = 0  # to earlier states; each halves the learning rates
        self._loss_sum = torch.zeros(len(LOSSES), device=x.device)
        self._loss_count = torch.zeros(len(LOSSES), device=x.device)  # of each loss: the game is not always played
        self._best_prediction_loss = float("inf")
        self._best = self._last_good = self._state()
        self._restored_sizes: list[float] = []

    def run(self) -> TargetUpdate:
        """Train to n_iter iterations, or until fewer than `tol` of the labels change; the survey of the final state.

        A training that was restored goes on where it was. ValueError where its population is another one than then.
        """
        total = self.options.n_iter
        survey = self._survey_again() if self.updates else self._update_target(None)
        while self.n_iter < total and not self._stopped_early:
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
        return survey

    @property
    def history(self) -> dict[str, Any]:
        """{"pretraining": {...}, "updates": [...], "events": [...], "snapshots": {...}}, see `snapshots`."""
        events = [*self.before["events"], *self.events]
        history = {"pretraining": self.before["pretraining"], "updates": self.updates, "events": events}
        return {**history, "snapshots": self.snapshots.history()}

    # ---- one iteration

    def _is_played(self, iteration: int) -> bool:
        """Whether the adversarial game, both its steps, is part of an iteration (counted from 1)."""
        return self.model.discriminator is not None and iteration % self.options.adversarial_interval == 0

    def _losses_of(self, iteration: int) -> Tensor:
        """Which of LOSSES an iteration computes, as 0 and 1."""
        played = float(self._is_played(iteration))
        return self._loss_sum.new_tensor([1, 1, 1, played, played])

    def _iterate(self, rows: Tensor, survey: TargetUpdate) -> Tensor | None:
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

    def _survey(self) -> TargetUpdate:
        return update_target(self.model, self.x, self.m, self.options.target_memory, self.population)

    def _update_target(self, before: TargetUpdate | None) -> TargetUpdate:
        """Survey the training set for a new P, note the state of training, and leave a state that has diverged."""
        survey = self._survey()
        bound = DIVERGED * max(self._best_prediction_loss, NEGLIGIBLE_LOSS)
        if not survey.prediction_loss <= bound:  # also where it is NaN
            self._return_to(self._best, PREDICTION_DIVERGED, survey.prediction_loss)
            survey = self._survey()
        self._last_good = self._state()
        if survey.prediction_loss < self._best_prediction_loss:
            self._best_prediction_loss, self._best = survey.prediction_loss, self._last_good
        self._record(survey, before)
        self.snapshots.take(self.n_iter, self.model, self.x, self.m)
        self._stop_where_labels_rest()
        if self.keep is not None:
            self.keep(self.state(survey))
        return survey

    def _stop_where_labels_rest(self) -> None:
        change, tol = self.updates[-1]["label_change"], self.options.tol
        if len(self.updates) <= MIN_INTERVALS or self.n_iter == self.options.n_iter or change >= tol:
            return
        # A return to an earlier state brings its labels back as well: that they rest says nothing then.
        if any(event["iteration"] > self.updates[-2]["iteration"] for event in self.events):
            return
        self.events.append({"event": STOPPED_EARLY, "iteration": self.n_iter, "label_change": change, "tol": tol})
        log.info("stopped early at iteration %d: %g of the labels changed", self.n_iter, change)

    @property
    def _stopped_early(self) -> bool:
        return any(event["event"] == STOPPED_EARLY for event in self.events)

    def _record(self, survey: TargetUpdate, before: TargetUpdate | None) -> None:
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

    # ---- the state of training, kept and restored

    @property
    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        both = {"optimiser": self.optimiser, "discriminator_optimiser": self.discriminator_optimiser}
        return {name: optimiser for name, optimiser in both.items() if optimiser is not None}

    def _state(self) -> Tensors:
        return read_state(self.model, self._optimisers)

    def _restore(self, tensors: Tensors) -> None:
        """Set weights and moments, and the learning rates that follow from the number of returns."""
        write_state(tensors, self.model, self._optimisers)
        factor = 0.5**self._returns
        self.optimiser.param_groups[0]["lr"] = self.options.learning_rate * factor
        if self.discriminator_optimiser is not None:
            self.discriminator_optimiser.param_groups[0]["lr"] = self.options.discriminator_learning_rate * factor

    def state(self, survey: TargetUpdate) -> State:
        """All that `restore` needs, as of a target update that gave `survey`; the last good state is the present."""
        tensors = {
            **prefixed("now", self._last_good),
            **prefixed("best", self._best),
            **prefixed("batches", self.stream.tensors()),
            **prefixed("snapshots", self.snapshots.tensors()),
        }
        numbers = {
            "n_iter": self.n_iter,
            "returns": self._returns,
            "best_prediction_loss": self._best_prediction_loss,
            "cluster_sizes": survey.cluster_sizes.tolist(),
            "before": self.before,
            "updates": self.updates,
            "events": self.events,
        }
        return State(tensors, numbers)

    def restore(self, state: State) -> None:
        """Go on from a state of a training with the same data and options: `run` then gives what that one would."""
        tensors, numbers = state
        self.n_iter, self._returns = numbers["n_iter"], numbers["returns"]
        self.before, self.updates, self.events = numbers["before"], numbers["updates"], numbers["events"]
        self._best_prediction_loss, self._best = numbers["best_prediction_loss"], below("best", tensors)
        self._last_good = below("now", tensors)
        self._restore(self._last_good)
        self.stream.restore(below("batches", tensors))
        self.snapshots.restore(below("snapshots", tensors))
        self._restored_sizes = numbers["cluster_sizes"]

    def _survey_again(self) -> TargetUpdate:
        """The survey of the last target update, which follows from the restored state."""
        survey = self._survey()
        sizes = survey.cluster_sizes.tolist()
        if not all(math.isclose(a, b, rel_tol=SAME_SIZES) for a, b in zip(sizes, self._restored_sizes, strict=True)):
            raise ValueError(
                f"the clusters had sizes {self._restored_sizes} at iteration {self.n_iter}, now they have {sizes}: the "
                "population is another one; remove the kept state to train anew"
            )
        return survey

    # ---- returning to an earlier state

    def _return_from_not_finite(self) -> None:
        self._return_to(self._last_good, NOT_FINITE)
        if sum(event["event"] == NOT_FINITE for event in self.events) > MAX_NOT_FINITE:
            raise TrainingDiverged(
                f"the loss was not finite {MAX_NOT_FINITE + 1} times, last at iteration {self.n_iter}, although every "
                f"return to an earlier state halved the learning rates; try a learning_rate below "
                f"{self.options.learning_rate:g}, a smaller clip_norm or, for the joint method, w_gen=0"
            )

    def _return_to(self, state: Tensors, reason: str, prediction_loss: float | None = None) -> None:
        """Restore weights and moments, and halve both learning rates."""
        self._returns += 1
        self._restore(state)
        event: dict[str, Any] = {
            "event": reason,
            "iteration": self.n_iter,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
        }
        if prediction_loss is not None:
            event["prediction_loss"] = prediction_loss if math.isfinite(prediction_loss) else None
            event["best_prediction_loss"] = self._best_prediction_loss
        self.events.append(event)
        message = "%s at iteration %d: back to an earlier state, learning rate now %g"
        log.warning(message, reason, self.n_iter, event["learning_rate"])
