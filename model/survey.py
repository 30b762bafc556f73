"""One pass of the networks over the whole training set: what the target P needs, and how training is going."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.joint_model import JointModel
from model.losses import prediction_loss

CHUNK = 4096  # series in one pass of the networks where no gradient is needed


@dataclass(frozen=True)
class Survey:
    """The training set as the networks saw it at one target update."""

    assign: Callable[[Tensor, Tensor, Tensor], Tensor]  # (row numbers, x, m) -> q (B, K) as of this survey
    cluster_sizes: Tensor  # (K,) f_j, the sum of q over all series
    labels: Tensor  # (n,)
    prediction_loss: float  # L_pre over all series


@torch.no_grad()
def take_survey(model: JointModel, x: Tensor, m: Tensor, target_memory: str) -> Survey:
    """Survey of x, m (n, T, C), in chunks.

    target_memory "assignments" keeps q of every series, n * K numbers; "frozen" keeps a copy of the networks and
    computes q again for every batch, which costs a forward pass but no memory that grows with n. Labels are n whole
    numbers either way.
    """
    sizes = torch.zeros(len(model.centres), dtype=torch.float64, device=x.device)
    assignments, labels, square_error = [], [], 0.0
    for x_part, m_part in zip(x.split(CHUNK), m.split(CHUNK), strict=True):
        outcome = model(x_part, m_part)
        square_error += float(prediction_loss(x_part, outcome.x_hat, m_part)) * len(x_part)
        sizes += outcome.q.sum(0)
        labels.append(outcome.q.argmax(1))
        if target_memory == "assignments":
            assignments.append(outcome.q)
    assign = _recall(torch.cat(assignments)) if target_memory == "assignments" else _recompute(model)
    return Survey(assign, sizes.to(x.dtype), torch.cat(labels), square_error / len(x))


def _recall(assignments: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda rows, x, m: assignments[rows]


def _recompute(model: JointModel) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen.discriminator = None

    def assign(rows: Tensor, x: Tensor, m: Tensor) -> Tensor:
        with torch.no_grad():
            q: Tensor = frozen(x, m).q
        return q

    return assign
