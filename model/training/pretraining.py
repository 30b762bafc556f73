"""What precedes joint training in the paper: the autoencoder alone on mean-filled series, then the first centres."""

import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import mse_loss

from model.networks.networks import Autoencoder
from model.training.batches import Batches

log = logging.getLogger(__name__)

Progress = Callable[[dict[str, Any]], None]

MOMENTUM = 0.9
MIN_STEPS = 10  # in an epoch: one step each, as of a set no larger than a batch, leaves the autoencoder untrained
CHECK_EPOCH = 5
CHECK_STEPS = 100  # fewer say nothing about convergence
WORSE = 1.5  # this many times the loss of predicting the mean curve; a slow start stays near 1 for hundreds of steps
NEGLIGIBLE = 1e-4  # mean squared error, in the unit range, that is never a reason to restart
MAX_RESTARTS = 5
KMEANS_SAMPLE = 50_000  # k-means on more series than this draws that many: two centroids need no more
COINCIDENT = 1e-3  # centres closer than this, relative to the spread of the embedding, coincide


class TrainingDiverged(RuntimeError):
    """Training stayed unusable after every restart or return to an earlier state."""


def pretrain(
    filled: Tensor,
    new_autoencoder: Callable[[], Autoencoder],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: torch.Generator,
    progress: Progress,
) -> tuple[Autoencoder, dict[str, Any], list[dict[str, Any]]]:
    """Fit an autoencoder to the mean-filled series (n, T * C) by SGD with momentum.

    A set of fewer than MIN_STEPS batches is cut into smaller ones.

    Not finite, or clearly worse than predicting the mean after the first epochs: again from new weights at a third of
    the learning rate. Returns the autoencoder, a record {"losses": per epoch, "learning_rate", "mean_loss"} and the
    restarts as events. TrainingDiverged after MAX_RESTARTS restarts.
    """
    batch_size = min(batch_size, max(1, filled.shape[0] // MIN_STEPS))
    mean_loss = float((filled - filled.mean(0)).square().mean())
    steps = filled.shape[0] // batch_size
    check_epoch = max(CHECK_EPOCH, -(-CHECK_STEPS // steps))
    events: list[dict[str, Any]] = []
    for _ in range(MAX_RESTARTS + 1):
        autoencoder = new_autoencoder()
        optimiser = torch.optim.SGD(autoencoder.parameters(), learning_rate, momentum=MOMENTUM)
        stream = Batches(filled.shape[0], batch_size, rng)
        losses: list[float] = []
        for epoch in range(1, epochs + 1):
            losses.append(_epoch(autoencoder, optimiser, filled, stream, steps))
            progress({"phase": "pretrain", "step": epoch, "total": epochs, "losses": {"mse": losses[-1]}})
            if not np.isfinite(losses[-1]) or (epoch == check_epoch and losses[-1] > WORSE * mean_loss + NEGLIGIBLE):
                break
        else:
            record = {"losses": losses, "learning_rate": learning_rate, "mean_loss": mean_loss}
            return autoencoder, record, events
        event = {
            "event": "pretraining restarted",
            "epoch": len(losses),
            "loss": losses[-1] if np.isfinite(losses[-1]) else None,
            "mean_loss": mean_loss,
            "learning_rate": learning_rate / 3,
        }
        log.warning(
            "pre-training loss %g after %d epochs, %g by the mean alone: restarting at learning rate %g",
            losses[-1],
            len(losses),
            mean_loss,
            learning_rate / 3,
        )
        events.append(event)
        learning_rate /= 3
    raise TrainingDiverged(
        f"pre-training the autoencoder failed {MAX_RESTARTS + 1} times, last at learning rate {learning_rate * 3:g}; "
        "check the data for extreme values or lower pretrain_learning_rate"
    )


def _epoch(
    autoencoder: Autoencoder, optimiser: torch.optim.Optimizer, filled: Tensor, stream: Iterator[Tensor], steps: int
) -> float:
    total = 0.0
    for _ in range(steps):
        rows = filled[next(stream).to(filled.device)]
        loss = mse_loss(autoencoder(rows), rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.item()
    return total / steps


def kmeans(points: Tensor, n_clusters: int, rng: torch.Generator) -> Tensor:
    """Centroids (K, D) of points (n, D); one thread, since the order of a parallel sum changes the last bits."""
    if points.shape[0] > KMEANS_SAMPLE:
        points = points[torch.randperm(points.shape[0], generator=rng)[:KMEANS_SAMPLE].to(points.device)]
    seed = int(torch.randint(2**31, (), generator=rng))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct series than clusters: centres coincide
        fitted = KMeans(n_clusters, n_init=20, random_state=seed).fit(points.cpu().numpy())
    return torch.as_tensor(fitted.cluster_centers_, dtype=points.dtype, device=points.device)


def initial_centres(
    filled: Tensor, autoencoder: Autoencoder, n_clusters: int, rng: torch.Generator
) -> tuple[Tensor, list[dict[str, Any]]]:
    """Centres (K, E): the embedded k-means centroids of the mean-filled series (n, T * C), and events.

    Where two of them coincide in the embedding, k-means in the embedding takes over, with a warning.
    """
    with torch.no_grad():
        z = autoencoder.encode(filled)
        centres = autoencoder.encode(kmeans(filled, n_clusters, rng))
        if not coincide(centres, z):
            return centres, []
        distance = smallest_distance(centres)
        log.warning(
            "cluster centres coincide in the embedding (distance %g): k-means in the embedding instead", distance
        )
        return kmeans(z, n_clusters, rng), [{"event": "centres coincide", "distance": distance}]


def coincide(centres: Tensor, z: Tensor) -> bool:
    """Whether two of the centres (K, E) lie in one place, compared with the spread of the embedding z (n, E)."""
    return len(centres) > 1 and not smallest_distance(centres) > COINCIDENT * float(z.std(0).norm())


def smallest_distance(centres: Tensor) -> float:
    """Smallest distance between two of the centres (K, E); 0 for K = 1."""
    distances = torch.nn.functional.pdist(centres.detach())
    return float(distances.min()) if len(distances) else 0.0
