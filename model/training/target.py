"""Target updates: one pass of the networks over the whole training set, from which the target P follows."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.losses import prediction_loss
from model.networks.joint import JointModel

CHUNK = 4096  # series in one pass of the networks where no gradient is needed

Population = Callable[[], Iterable[tuple[Tensor, Tensor]]]  # each call streams parts x, m (n, T, C) of all series


@dataclass(frozen=True)
class TargetUpdate:
    """Results of one pass over the training set: what the target P (Eq 5) needs, labels, and L_pre."""

    assign: Callable[[Tensor, Tensor, Tensor], Tensor]  # (row numbers, x, m) -> q (B, K) of this update (Eq 6)
    cluster_sizes: Tensor  # (K,) f_j, the sum of q over all series, those of the population if there is one
    labels: Tensor  # (n,)
    prediction_loss: float  # L_pre over all series


@torch.no_grad()
def update_target(
    model: JointModel, x: Tensor, m: Tensor, target_memory: str, population: Population | None = None
) -> TargetUpdate:
    """Pass x, m (n, T, C) through the networks, in chunks.

    target_memory "assignments" keeps q of every series, n * K numbers; "frozen" keeps a copy of the networks and
    computes q again for every batch, which costs a forward pass but no memory that grows with n. Labels are n whole
    numbers either way. With a `population`, f_j is summed over all that it streams instead of over x.
    """
    sizes = torch.zeros(len(model.centres), dtype=torch.float64, device=x.device)
    assignments, labels, square_error = [], [], 0.0
    for x_part, m_part in zip(x.split(CHUNK), m.split(CHUNK), strict=True):
        outcome = model(x_part, m_part)
        square_error += float(prediction_loss(x_part, outcome.x_hat, m_part)) * len(x_part)
        sizes += outcome.q.sum(0, dtype=torch.float64)
        labels.append(outcome.q.argmax(1))
        if target_memory == "assignments":
            assignments.append(outcome.q)
    if population is not None:
        sizes = _population_sizes(model, population)
    assign = _recall(torch.cat(assignments)) if target_memory == "assignments" else _recompute(model)
    return TargetUpdate(assign, sizes.to(x.dtype), torch.cat(labels), square_error / len(x))


def _population_sizes(model: JointModel, population: Population) -> Tensor:
    """Sum q to f_j (K,) over a population; ValueError where it has no series."""
    sizes = torch.zeros(len(model.centres), dtype=torch.float64, device=model.centres.device)
    n_series = 0
    for x, m in _chunks(population()):
        sizes += model(x.to(sizes.device), m.to(sizes.device)).q.sum(0, dtype=torch.float64)
        n_series += len(x)
    if n_series == 0:
        raise ValueError(
            "the population, over which cluster sizes are summed, gave no series with an observation; "
            "it is called anew at every target update"
        )
    return sizes


def _chunks(parts: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the series in parts of CHUNK: rounding depends on the size of a pass, and must not on how parts are cut."""
    waiting: list[tuple[Tensor, Tensor]] = []
    count = 0
    for x, m in parts:
        waiting.append((x, m))
        count += len(x)
        if count >= CHUNK:
            x, m = (torch.cat(pieces) for pieces in zip(*waiting, strict=True))
            whole = count - count % CHUNK
            yield from zip(x[:whole].split(CHUNK), m[:whole].split(CHUNK), strict=True)
            waiting, count = [(x[whole:], m[whole:])], count - whole
    if count:
        x, m = (torch.cat(pieces) for pieces in zip(*waiting, strict=True))
        yield x, m


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
