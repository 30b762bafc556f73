"""Safeguards of adversarial training: returns to earlier states, restored states, an early stop."""

import logging
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from model.training.history import EventRecord, UpdateRecord
from model.training.state import Tensors, read_state, write_state

log = logging.getLogger(__name__)

NEGLIGIBLE_LOSS = 1e-8  # L_pre that constant series leave: three times of it mean nothing
DIVERGED = 3.0  # L_pre over the training set above this many times its best
PREDICTION_DIVERGED = "prediction loss diverged"
NOT_FINITE = "loss not finite"
MAX_NOT_FINITE = 10
STOPPED_EARLY = "stopped early"
MIN_INTERVALS = 2  # target intervals before training may stop early: labels rest while centres have hardly moved


class TrainingDiverged(RuntimeError):
    """Training stayed unusable after every restart or return to an earlier state."""


class Safeguards:
    """Watch one training, and return to an earlier state where it fails; every return halves the learning rates."""

    def __init__(
        self, model: nn.Module, optimisers: dict[str, torch.optim.Optimizer], clip_norm: float, advice: str
    ) -> None:
        """Watch the model and its optimisers.

        `clip_norm` is the largest norm of a step's gradient, 0 = no clipping. `advice` ends the error of a training
        that no return could help.
        """
        self.model, self.optimisers, self.clip_norm, self.advice = model, optimisers, clip_norm, advice
        self.learning_rates = {name: optimiser.param_groups[0]["lr"] for name, optimiser in optimisers.items()}
        self.events: list[EventRecord] = []
        self.returns = 0  # to earlier states
        self.best_prediction_loss = float("inf")
        self.best = self.last_good = read_state(model, optimisers)

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> bool:
        """Take one optimiser step with clipped gradient; False, and no step, where loss or gradient is not finite."""
        optimiser.zero_grad()
        loss.backward()
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        norm = clip_grad_norm_(parameters, self.clip_norm or float("inf"))
        if not bool(torch.isfinite(loss.detach() + norm)):
            return False
        optimiser.step()
        return True

    # ---- good states

    def keep_good(self) -> None:
        """Copy the present state, the one to return to where a loss is not finite."""
        self.last_good = read_state(self.model, self.optimisers)

    def keep_best(self, prediction_loss: float) -> None:
        """Make the last good state the best one where its L_pre over the training set is the lowest so far."""
        if prediction_loss < self.best_prediction_loss:
            self.best_prediction_loss, self.best = prediction_loss, self.last_good

    def restore(self, last_good: Tensors, returns: int) -> None:
        """Set weights, moments and learning rates to those of a state after so many returns."""
        self.last_good, self.returns = last_good, returns
        self._set(last_good)

    def _set(self, tensors: Tensors) -> None:
        write_state(tensors, self.model, self.optimisers)
        for name, optimiser in self.optimisers.items():
            optimiser.param_groups[0]["lr"] = self.learning_rates[name] * 0.5**self.returns

    # ---- returns

    def has_diverged(self, prediction_loss: float) -> bool:
        """Return whether L_pre over the training set (Eq 4) is NaN or far above its best."""
        return not prediction_loss <= DIVERGED * max(self.best_prediction_loss, NEGLIGIBLE_LOSS)

    def return_from_divergence(self, iteration: int, prediction_loss: float) -> None:
        """Return to the best state."""
        self.return_to(self.best, PREDICTION_DIVERGED, iteration, prediction_loss)

    def return_from_not_finite(self, iteration: int) -> None:
        """Return to the last good state; TrainingDiverged after more than MAX_NOT_FINITE such returns."""
        self.return_to(self.last_good, NOT_FINITE, iteration)
        if sum(event["event"] == NOT_FINITE for event in self.events) > MAX_NOT_FINITE:
            raise TrainingDiverged(
                f"the loss was not finite {MAX_NOT_FINITE + 1} times, last at iteration {iteration}, although every "
                f"return to an earlier state halved the learning rates; try {self.advice}"
            )

    def return_to(self, state: Tensors, reason: str, iteration: int, prediction_loss: float | None = None) -> None:
        """Restore weights and moments, halve the learning rates, and record the event."""
        self.returns += 1
        self._set(state)
        rate = self.optimisers["optimiser"].param_groups[0]["lr"]
        event: EventRecord = {"event": reason, "iteration": iteration, "learning_rate": rate}
        if prediction_loss is not None:
            event["prediction_loss"] = prediction_loss if math.isfinite(prediction_loss) else None
            event["best_prediction_loss"] = self.best_prediction_loss
        self.events.append(event)
        message = "%s at iteration %d: back to an earlier state, learning rate now %g"
        log.warning(message, reason, iteration, rate)

    # ---- early stop

    def stop_where_labels_rest(self, updates: Sequence[UpdateRecord], tol: float, n_iter: int) -> None:
        """Record an early stop where fewer than `tol` of the labels changed at the last of the target updates.

        The end of training, at iteration n_iter, is no early stop.
        """
        last = updates[-1]
        iteration, change = last["iteration"], last["label_change"]
        if len(updates) <= MIN_INTERVALS or iteration == n_iter or change is None or change >= tol:
            return
        # A return to an earlier state brings its labels back as well: that they rest says nothing then.
        before = updates[-2]["iteration"]
        if any(event["iteration"] > before for event in self.events):
            return
        self.events.append({"event": STOPPED_EARLY, "iteration": iteration, "label_change": change, "tol": tol})
        log.info("stopped early at iteration %d: %g of the labels changed", iteration, change)

    @property
    def stopped_early(self) -> bool:
        """Return whether training has stopped early."""
        return any(event["event"] == STOPPED_EARLY for event in self.events)
