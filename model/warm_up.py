"""The generator alone on L_pre (Eq 4), before anything is built on what it fills."""

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from model.batches import Batches
from model.losses import prediction_loss
from model.networks import Generator
from model.pretraining import CHECK_STEPS, MAX_RESTARTS, NEGLIGIBLE, WORSE, Progress, TrainingDiverged
from model.series import channel_mean
from model.survey import CHUNK

log = logging.getLogger(__name__)

LEARNING_RATE = 0.03  # highest of Adam's one-cycle schedule
CLIP_NORM = 10.0
BLOCK = 10  # iterations of which one mean loss is kept
HIDDEN_SHARE = 0.5  # of the series of a batch, in each of which a run of dates is hidden from the generator
MEAN_RUN = 4.0  # dates in such a run; lengths are geometric


def warm_up(
    generator: Generator,
    x: Tensor,
    m: Tensor,
    *,
    steps: int,
    batch_size: int,
    rng: torch.Generator,
    progress: Progress,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Train the generator on x, m (n, T, C) by Adam on L_pre, runs of observations being hidden but still asked for.

    L_pre itself only asks for dates whose neighbours are known; what is hidden in runs teaches it long gaps too.

    Not finite, or clearly worse than predicting the mean at the end: again from new weights at a third of the learning
    rate. Returns a record {"losses": mean of every 10 iterations, "learning_rate", "mean_loss"} and the restarts as
    events. TrainingDiverged after several restarts.
    """
    generator.start_from(x, m)
    mean_loss = _mean_loss(x, m)
    limit = WORSE * mean_loss + NEGLIGIBLE * x.shape[1] * x.shape[2]
    rate, events = LEARNING_RATE, list[dict[str, Any]]()
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
        seen = m_rows & ~_runs(len(rows), x.shape[1], rng).to(x.device).unsqueeze(2)
        loss = prediction_loss(x_rows, generator(x_rows, seen), m_rows)
        optimiser.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(generator.parameters(), CLIP_NORM)
        block.append(float(loss.detach()))
        if not bool(torch.isfinite(loss.detach() + norm)):
            return [*losses, float("nan")]
        optimiser.step()
        schedule.step()
        if step % BLOCK == 0 or step == steps:
            losses.append(sum(block) / len(block))
            block.clear()
            progress({"phase": "pretrain", "step": step, "total": steps, "losses": {"pre": losses[-1]}})
    return losses


def _runs(n_series: int, n_times: int, rng: torch.Generator) -> Tensor:
    """Dates to hide (n, T): one run in some of the series, its middle anywhere in the year."""
    length = torch.empty(n_series, 1).geometric_(1 / MEAN_RUN, generator=rng)
    length *= torch.rand(n_series, 1, generator=rng) < HIDDEN_SHARE
    start = torch.rand(n_series, 1, generator=rng) * n_times - length / 2
    dates = torch.arange(n_times)
    return (dates >= start) & (dates < start + length)


def _mean_loss(x: Tensor, m: Tensor) -> float:
    """L_pre of predicting the mean of each channel everywhere."""
    return float(prediction_loss(x, channel_mean(x, m).expand_as(x), m))


@torch.no_grad()
def filled_by(generator: Generator, x: Tensor, m: Tensor) -> Tensor:
    """X_tilde (n, T, C): gaps of x filled by the generator, in chunks."""
    parts = zip(x.split(CHUNK), m.split(CHUNK), strict=True)
    return torch.cat([torch.where(m_part, x_part, generator(x_part, m_part)) for x_part, m_part in parts])
