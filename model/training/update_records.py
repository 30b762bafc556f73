"""Records of target updates: mean losses since the update before, labels, centres, snapshots."""

import logging

import torch
from torch import Tensor

from model.networks.joint import JointModel
from model.training.history import UpdateRecord
from model.training.pretraining import smallest_distance
from model.training.target import TargetUpdate

log = logging.getLogger(__name__)

LOSSES = ("rec", "pre", "clu", "dis", "gen")


class UpdateRecords:
    """Records of all target updates of one training."""

    def __init__(self, device: torch.device) -> None:
        self.updates: list[UpdateRecord] = []
        self._sum = torch.zeros(len(LOSSES), device=device)
        self._count = torch.zeros(len(LOSSES), device=device)  # of each loss: the game is not always played

    def count(self, losses: Tensor, *, played: bool) -> None:
        """Add one iteration's losses, in the order of LOSSES, to the means; the last two only where it was played."""
        self._sum += losses
        self._count += self._sum.new_tensor([1, 1, 1, played, played])

    def add(self, iteration: int, target: TargetUpdate, before: TargetUpdate | None, model: JointModel) -> None:
        """Record a target update; `before` is the one before it, None for the first."""
        means, counts = (self._sum / self._count.clamp(min=1)).tolist(), self._count.tolist()
        update: UpdateRecord = {
            "iteration": iteration,
            # means over the iterations since the update before that computed them; there are none at the first
            "losses": {name: mean if n else None for name, mean, n in zip(LOSSES, means, counts, strict=True)},
            "prediction_loss": target.prediction_loss,
            "label_change": None if before is None else float((target.labels != before.labels).double().mean()),
            "cluster_sizes": torch.bincount(target.labels, minlength=len(model.centres)).tolist(),
            "centre_distance": smallest_distance(model.centres),
        }
        self._sum.zero_()
        self._count.zero_()
        self.updates.append(update)
        log.info("target update %s", update)
