"""Start from components: the generator alone on L_pre (Eq 4), then autoencoder and centres from what it fills."""

import logging
import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from model.losses import prediction_loss
from model.networks.networks import Autoencoder, Generator
from model.series import channel_mean
from model.training.batches import Batches
from model.training.history import EventRecord, PretrainingRecord
from model.training.pretraining import (
    CHECK_STEPS,
    MAX_RESTARTS,
    NEGLIGIBLE,
    WORSE,
    coincide,
    kmeans,
    smallest_distance,
)
from model.training.progress import Progress
from model.training.safeguards import TrainingDiverged
from model.training.target import CHUNK

log = logging.getLogger(__name__)

LEARNING_RATE = 0.03  # highest of Adam's one-cycle schedule
CLIP_NORM = 10.0
RECORD_EVERY = 10  # iterations of which one mean loss is kept
HIDDEN_SHARE = 0.5  # of the series of a batch, in each of which a run of dates is hidden from the generator
MEAN_RUN = 4.0  # dates in such a run; lengths are geometric
FLOOR = 0.4  # of the widest component's standard deviation: the least that a component is divided by


def warm_up(
    generator: Generator,
    x: Tensor,
    m: Tensor,
    *,
    steps: int,
    batch_size: int,
    rng: torch.Generator,
    progress: Progress,
) -> tuple[PretrainingRecord, list[EventRecord]]:
    """Train the generator on x, m (n, T, C) by Adam on L_pre (Eq 4), with runs of observations hidden from it.

    Hidden observations still count in L_pre. Without them it only asks for dates whose neighbours are known; with them
    the generator learns long gaps too.

    Where the loss is not finite, or clearly worse than predicting the mean at the end, training restarts from new
    weights at a third of the learning rate. Returns a record with the mean loss of every RECORD_EVERY iterations, and
    the restarts as events. TrainingDiverged after several restarts.
    """
    generator.start_from(x, m)
    mean_loss = _mean_loss(x, m)
    limit = WORSE * mean_loss + NEGLIGIBLE * x.shape[1] * x.shape[2]
    rate, events = LEARNING_RATE, list[EventRecord]()
    for _ in range(MAX_RESTARTS + 1):
        losses = _run(generator, x, m, steps, batch_size, rate, rng, progress)
        if torch.tensor(losses).isfinite().all() and (steps < CHECK_STEPS or losses[-1] <= limit):
            return {"losses": losses, "learning_rate": rate, "mean_loss": mean_loss}, events
        rate /= 3
        log.warning("warm-up of the generator failed: again at learning rate %g", rate)
        events.append({"event": "warm-up restarted", "mean_loss": mean_loss, "learning_rate": rate})
        generator.reset(rng)
        generator.start_from(x, m)
    raise TrainingDiverged(
        f"the generator's warm-up failed {MAX_RESTARTS + 1} times; check the data for extreme values or use "
        'start="paper"'
    )


def _run(
    generator: Generator,
    x: Tensor,
    m: Tensor,
    steps: int,
    batch_size: int,
    rate: float,
    rng: torch.Generator,
    progress: Progress,
) -> list[float]:
    optimiser = torch.optim.Adam(generator.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    stream, losses, block = Batches(x.shape[0], batch_size, rng), list[float](), list[float]()
    for step in range(1, steps + 1):
        rows = next(stream).to(x.device)
        x_rows, m_rows = x[rows], m[rows]
        seen = m_rows & ~hidden_runs(len(rows), x.shape[1], rng).to(x.device).unsqueeze(2)
        loss = prediction_loss(x_rows, generator(x_rows, seen), m_rows)
        optimiser.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(generator.parameters(), CLIP_NORM)
        block.append(float(loss.detach()))
        if not bool(torch.isfinite(loss.detach() + norm)):
            return [*losses, float("nan")]
        optimiser.step()
        schedule.step()
        if step % RECORD_EVERY == 0 or step == steps:
            losses.append(sum(block) / len(block))
            block.clear()
            progress({"phase": "pretrain", "step": step, "total": steps, "losses": {"pre": losses[-1]}})
    return losses


def hidden_runs(n_series: int, n_times: int, rng: torch.Generator) -> Tensor:
    """Draw the dates to hide (n, T): one run in some of the series, its middle anywhere in the year."""
    length = torch.empty(n_series, 1).geometric_(1 / MEAN_RUN, generator=rng)
    length *= torch.rand(n_series, 1, generator=rng) < HIDDEN_SHARE
    start = torch.rand(n_series, 1, generator=rng) * n_times - length / 2
    dates = torch.arange(n_times)
    return (dates >= start) & (dates < start + length)


def _mean_loss(x: Tensor, m: Tensor) -> float:
    """Return L_pre (Eq 4) of predicting the mean of each channel everywhere."""
    return float(prediction_loss(x, channel_mean(x, m).expand_as(x), m))


@torch.no_grad()
def filled_by(generator: Generator, x: Tensor, m: Tensor) -> Tensor:
    """Return X_tilde (n, T, C): gaps of x filled by the generator, in chunks."""
    parts = zip(x.split(CHUNK), m.split(CHUNK), strict=True)
    return torch.cat([torch.where(m_part, x_part, generator(x_part, m_part)) for x_part, m_part in parts])


@torch.no_grad()
def start_from_components(autoencoder: Autoencoder, filled: Tensor) -> None:
    """Set the weights so that encoding filled (n, D) yields its whitened principal components, and decoding inverts it.

    A component passes the ReLU layers as a pair of units, of which one carries its positive part and the other its
    negative part; so the narrowest layer, of 10 units, lets min(E, 5) components through. The rest of every layer,
    and of the embedding, keeps its random weights, and has no part in the output at first.
    """
    n_pairs = min(autoencoder.embedding_size, autoencoder.UNITS[-1] // 2, filled.shape[1])
    mean = filled.mean(0, dtype=torch.float64)
    axes, deviation = _components(filled, mean, n_pairs)
    encoder, decoder = _linear_layers(autoencoder.encoder), _linear_layers(autoencoder.decoder)
    project = (axes / deviation).T  # (pairs, D)
    first, last = encoder[0], decoder[-1]
    first.weight[: 2 * n_pairs] = torch.cat((project, -project)).to(first.weight.dtype)
    first.bias[: 2 * n_pairs] = torch.cat((-project @ mean, project @ mean)).to(first.bias.dtype)
    for layer in (*encoder[1:-1], *decoder[1:-1]):
        _pass_on(layer, torch.eye(2 * n_pairs))
    eye = torch.eye(n_pairs)
    _pass_on(encoder[-1], torch.cat((eye, -eye), 1))
    _pass_on(decoder[0], torch.cat((eye, -eye), 0))
    spread = axes * deviation  # (D, pairs)
    last.weight.zero_()
    last.weight[:, : 2 * n_pairs] = torch.cat((spread, -spread), 1).to(last.weight.dtype)
    last.bias.copy_(mean)


def _components(filled: Tensor, mean: Tensor, n_components: int) -> tuple[Tensor, Tensor]:
    """Return the first principal axes (D, n) of series (N, D), and the divisor along each (n,), in float64."""
    covariance = torch.zeros(filled.shape[1], filled.shape[1], dtype=torch.float64, device=filled.device)
    for part in filled.split(65_536):  # a float64 copy of all series would be twice their size
        centred = part.double() - mean
        covariance += centred.T @ centred
    variance, axes = torch.linalg.eigh(covariance / len(filled))
    axes = axes.flip(1)[:, :n_components]
    sign = torch.where(axes.sum(0) < 0, -1.0, 1.0)  # that of an eigenvector is arbitrary
    deviation = variance.flip(0)[:n_components].clamp_min(0).sqrt()
    widest = deviation[0] if deviation[0] > 0 else deviation.new_ones(())
    return axes * sign, torch.maximum(deviation, FLOOR * widest)


def _linear_layers(stack: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in stack if isinstance(layer, nn.Linear)]


def _pass_on(layer: nn.Linear, block: Tensor) -> None:
    """Set the first units of a layer to `block` times the first units before it, and nothing else."""
    rows, columns = block.shape
    layer.weight[:rows] = 0
    layer.weight[:rows, :columns] = block
    layer.bias[:rows] = 0


def centres_from_clusters(
    filled: Tensor, autoencoder: Autoencoder, n_clusters: int, rng: torch.Generator
) -> tuple[Tensor, list[EventRecord]]:
    """Return centres (K, E) of k-means in the embedding, which starts where k-means on the filled series (n, D) ended.

    Where two of them coincide, k-means in the embedding starts from random centres, and an event says so.
    """
    with torch.no_grad():
        z = autoencoder.encode(filled)
        centroids = kmeans(filled, n_clusters, rng)
        nearest = torch.cat([torch.cdist(part, centroids).argmin(1) for part in filled.split(65_536)])
        start = torch.stack(
            [
                z[nearest == k].mean(0) if (nearest == k).any() else autoencoder.encode(centroids[k])
                for k in range(n_clusters)
            ]
        )
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct series than clusters: see below
        fitted = KMeans(n_clusters, init=start.cpu().numpy(), n_init=1).fit(z.cpu().numpy())
    centres = torch.as_tensor(fitted.cluster_centers_, dtype=z.dtype, device=z.device)
    if coincide(centres, z):
        return kmeans(z, n_clusters, rng), [{"event": "centres coincide", "distance": smallest_distance(centres)}]
    return centres, []
