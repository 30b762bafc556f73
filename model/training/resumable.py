"""A joint training between its iterations: what it is made from, its state on disk, its history."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from model.networks.joint import JointModel
from model.parameters import TrainingOptions
from model.training.batches import Batches
from model.training.history import Beginning, EventRecord, History, UpdateRecord, no_beginning
from model.training.progress import Progress
from model.training.safeguards import Safeguards
from model.training.snapshots import Snapshots
from model.training.state import State, below, prefixed
from model.training.target import Population, TargetUpdate, update_target
from model.training.update_records import UpdateRecords

SAME_SIZES = 1e-4  # relative difference of f_j that another machine may make; another population makes more


class ResumableTraining:
    """A joint training on x, m (n, T, C) whose state can be kept at target updates, and restored.

    `before` records what preceded it. `population` streams all series over which f_j is summed, where that is not x
    alone. `keep` is called with the `State` of every target update.
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
        before: Beginning | None = None,
        population: Population | None = None,
        keep: Callable[[State], None] | None = None,
    ) -> None:
        self.model, self.x, self.m, self.options, self.progress = model, x, m, options, progress
        self.before = before or no_beginning()
        self.population, self.keep = population, keep
        self.optimiser = torch.optim.SGD(model.clustering_parameters(), options.learning_rate)
        self.discriminator_optimiser: torch.optim.Adam | None = None
        optimisers: dict[str, torch.optim.Optimizer] = {"optimiser": self.optimiser}
        if model.discriminator is not None:
            rate = options.discriminator_learning_rate
            self.discriminator_optimiser = torch.optim.Adam(model.discriminator.parameters(), rate)
            optimisers["discriminator_optimiser"] = self.discriminator_optimiser
        self.batches = Batches(x.shape[0], options.batch_size, rng)
        self.snapshots = Snapshots(x.shape[0], rng.initial_seed())
        smaller = f"a learning_rate below {options.learning_rate:g}, a smaller clip_norm"
        advice = f"{smaller} or, for the joint method, w_gen=0"
        self.safeguards = Safeguards(model, optimisers, options.clip_norm, advice)
        self.records = UpdateRecords(x.device)
        self.n_iter = 0
        self._restored_sizes: list[float] = []

    @property
    def updates(self) -> list[UpdateRecord]:
        """Return the records of the target updates."""
        return self.records.updates

    @property
    def events(self) -> list[EventRecord]:
        """Return the records of returns to earlier states and of the early stop."""
        return self.safeguards.events

    @property
    def history(self) -> History:
        """Return all records of this training and of what preceded it."""
        return {
            "pretraining": self.before["pretraining"],
            "updates": self.updates,
            "events": [*self.before["events"], *self.events],
            "snapshots": self.snapshots.history(),
        }

    def state(self, target: TargetUpdate) -> State:
        """Return all that `restore` needs, at a target update; the last good state is the present one."""
        tensors = {
            **prefixed("now", self.safeguards.last_good),
            **prefixed("best", self.safeguards.best),
            **prefixed("batches", self.batches.tensors()),
            **prefixed("snapshots", self.snapshots.tensors()),
        }
        return State(
            tensors,
            {
                "n_iter": self.n_iter,
                "returns": self.safeguards.returns,
                "best_prediction_loss": self.safeguards.best_prediction_loss,
                "cluster_sizes": target.cluster_sizes.tolist(),
                "before": self.before,
                "updates": self.updates,
                "events": self.events,
            },
        )

    def restore(self, state: State) -> None:
        """Go on from a state of a training with the same data and options, to the results that it would have had."""
        tensors, numbers = state
        self.n_iter, self.before = numbers["n_iter"], numbers["before"]
        self.records.updates, self.safeguards.events = numbers["updates"], numbers["events"]
        self.safeguards.best_prediction_loss = numbers["best_prediction_loss"]
        self.safeguards.best = below("best", tensors)
        self.safeguards.restore(below("now", tensors), numbers["returns"])
        self.batches.restore(below("batches", tensors))
        self.snapshots.restore(below("snapshots", tensors))
        self._restored_sizes = numbers["cluster_sizes"]

    def compute_target(self) -> TargetUpdate:
        """Compute the target from the whole training set, and from the population where there is one."""
        return update_target(self.model, self.x, self.m, self.options.target_memory, self.population)

    def last_target(self) -> TargetUpdate:
        """Compute the target of the restored state again; ValueError where its population is another one than then."""
        target = self.compute_target()
        sizes = target.cluster_sizes.tolist()
        if not all(math.isclose(a, b, rel_tol=SAME_SIZES) for a, b in zip(sizes, self._restored_sizes, strict=True)):
            raise ValueError(
                f"the clusters had sizes {self._restored_sizes} at iteration {self.n_iter}, now they have {sizes}: the "
                "population is another one; remove the kept state to train anew"
            )
        return target
