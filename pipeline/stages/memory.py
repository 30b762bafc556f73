"""Project the memory that training and the tasks of the other stages need, before anything is read."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch

from model import JointClustering
from model.estimators.base import BLOCK
from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.grid.grid import Grid, Shard
from pipeline.runtime.executor import Capacity
from pipeline.runtime.machine import memory_limit

# Measured as the peak of resident memory on a CPU, for 100 to 800,000 series of 46 or 400 dates and 1 or 8 channels,
# where 20 bytes a value were found, and rounded up by a fifth.
_PER_VALUE: Final = 24  # bytes: series (4), scaled copy (4), mask (1), mean-filled copy (4), what computing them takes
_PER_SERIES: Final = 150  # bytes: cell, label, permutation, embedding, q of each of a few clusters
_PER_STEP: Final = 3_000  # bytes a date and series of a batch: gates and states of both networks, kept for the gradient
_FIXED: Final = 600_000_000  # bytes: the libraries, and k-means on its own sample
_GIGABYTE: Final = 1e9
_PER_INFERRED_VALUE: Final = 48  # bytes a value of a series: input, mask, states and estimates of both directions
# Of tasks: measured as the peak of resident memory of fresh processes, each doing one shard of 256, 512, 1024 or 2048
# cells along a side, with 46 dates, 1 or 3 channels and 20 or 100 % mapped cells; projections are 1.0 to 1.35 times it.
_WORKER: Final = 540_000_000  # bytes: a process with all libraries
_OVERLAPPING: Final = 3  # shards at once in a thread of a GPU worker: one has been read, one is computed, one written
_GPU_SHARE: Final = 0.25  # of the free memory of a GPU: other tasks of its worker want some, too
_MOST_ON_GPU: Final = 1 << 18  # series; more at once are no faster


def training_bytes(n_series: int, n_times: int, n_channels: int, batch_size: int) -> int:
    """Return the bytes that training on n series needs: _FIXED + _PER_STEP B T + n (_PER_VALUE T C + _PER_SERIES)."""
    return _FIXED + _PER_STEP * batch_size * n_times + n_series * (_PER_VALUE * n_times * n_channels + _PER_SERIES)


def check_sample(config: Config, n_series: int, n_times: int, n_channels: int, limit: int | None = None) -> None:
    """Refuse a sample with which training would not fit into memory.

    Args:
        config: of the run.
        n_series: number of series of the sample.
        n_times: of each series.
        n_channels: of each series.
        limit: bytes; None: the memory of this machine or its container.

    Raises:
        UserError: it does not fit; the message says which sample would.
    """
    limit = memory_limit() if limit is None else limit
    batch = config.training.batch_size

    def needed(n: int) -> int:
        return training_bytes(n, n_times, n_channels, min(batch, n))

    if needed(n_series) <= limit:
        return
    fitting = bisect_right(range(n_series), limit, key=needed) - 1
    problem = (
        f"training on {n_series:,} cells of {n_times} dates and {n_channels} channel(s) needs about "
        f"{needed(n_series) / _GIGABYTE:.1f} GB of memory, and there are {limit / _GIGABYTE:.1f} GB"
    )
    if fitting < config.training.clusters:
        raise UserError(f"{problem}: too little to train on any sample.")
    raise UserError(f"{problem}: training.sample_pixels = {fitting} (--sample-pixels) would fit.")


def batch_pixels(model: JointClustering) -> int:
    """Return the number of series that go through the network at once: as a CPU's caches or a GPU's memory allow."""
    device = model.model_.centres.device
    if device.type != "cuda":
        return BLOCK
    free, _ = torch.cuda.mem_get_info(device)
    return max(BLOCK, min(_MOST_ON_GPU, int(_GPU_SHARE * free / series_bytes(model))))


def series_bytes(model: JointClustering) -> int:
    """Return the bytes of a series in the network: its values and estimates, and the GRU's gates."""
    values = model.n_times_ * model.n_channels_
    gates = 2 * (model.n_channels_ + 4 * getattr(model, "hidden_size", 0))
    return _PER_INFERRED_VALUE * values + 4 * gates


@dataclass(frozen=True)
class Work:
    """What the memory of a task depends on."""

    shard: int  # cells along y and x
    cells: int  # of the largest shard: fewer where the country is smaller than one
    mapped_share: float  # of the cells, in the shard with the most mapped cells
    n_dates: int
    item_sizes: tuple[int, ...]  # bytes of a stored number of each channel
    strip_width: int = 1  # shards that ingest works on at once
    pixels_per_cell: float = 1.0  # of the source
    series_outputs: int = 2  # of filled and spread

    def reading(self, strip_width: int, pixels_per_cell: float) -> "Work":
        """Return the same work with the strips and pixels that ingest reads."""
        return replace(self, strip_width=strip_width, pixels_per_cell=pixels_per_cell)

    def without_series(self) -> "Work":
        """Return the same work with neither filled nor spread."""
        return replace(self, series_outputs=0)


def ingest_bytes(work: Work) -> int:
    """Return the bytes of a task of ingest: averages and footprints of all shards of a strip, pixels of one scene.

    _WORKER + W A (T V + 18 C + 30) + W P 24 + P 50, with W shards of A cells a strip, P pixels a shard (at least one a
    cell), T dates, and V bytes of C channels a date.
    """
    values, channels = work.n_dates * sum(work.item_sizes), len(work.item_sizes)
    pixels = work.cells * max(1.0, work.pixels_per_cell)
    of_strip = work.cells * (values + 18 * channels + 30) + 24 * pixels
    return round(_WORKER + work.strip_width * of_strip + 50 * pixels)


def prepare_bytes(work: Work) -> int:
    """Return the bytes of a task of prepare: a channel, where it and where any channel is observed, and its counts.

    _WORKER + 40 MB + A (T (b + 2) + 90 + 2 V); with several channels T (2 b + 3), as two of them are in memory at once.
    A cells a shard, T dates, b bytes of the widest of the channels, V of all.
    """
    widest = max(work.item_sizes)
    a_date = widest + 2 if len(work.item_sizes) == 1 else 2 * widest + 3
    return _WORKER + 40_000_000 + work.cells * (work.n_dates * a_date + 90 + 2 * sum(work.item_sizes))


def infer_bytes(work: Work) -> int:
    """Return the bytes of a task of infer: all series of a shard with their results, or results and one whole array.

    _WORKER + 50 MB + 25 MB C + max(M T V (1 + k), M T V k + 2.4 A T b) + 4 A + 20 M, where M of A cells are mapped, k
    of the outputs filled and spread are written, T dates, V bytes of C channels a date and b of the widest.
    """
    mapped = work.cells * work.mapped_share
    numbers, outputs = mapped * work.n_dates * sum(work.item_sizes), work.series_outputs
    writing = 2.4 * work.cells * work.n_dates * max(work.item_sizes) if outputs else 0.0
    series = max(numbers * (1 + outputs), numbers * outputs + writing)
    fixed = _WORKER + 50_000_000 + 25_000_000 * len(work.item_sizes)
    return round(fixed + series + 4 * work.cells + 20 * mapped)


def task_limit(where: Capacity) -> int:
    """Return the bytes that a task may take: those of the smallest worker, in process those of this machine.

    Args:
        where: the workers of an executor.
    """
    if where.scheduler is None or not where.memory_limit:
        return int(memory_limit())
    return where.memory_limit


def training_limit(where: Capacity) -> int | None:
    """Return the bytes that training may take: those of the smallest worker if there are GPU workers.

    Without GPU workers None: training runs in this process, see `check_sample`.

    Args:
        where: the workers of an executor.
    """
    return where.memory_limit if where.gpu_workers else None


def _threads_of_worker(where: Capacity) -> int:
    return -(-where.threads // max(1, where.workers))


def worker_bytes(task: int, where: Capacity, tasks_a_thread: int = 1) -> int:
    """Return the bytes of a worker whose threads do a task each, or several that overlap, see `stages_in_turn`.

    Args:
        task: bytes of one task.
        where: the workers of an executor.
        tasks_a_thread: that overlap.
    """
    return task + (_threads_of_worker(where) * tasks_a_thread - 1) * max(0, task - _WORKER)


def stage_bytes(needed: Callable[[Work], int], work: Work, where: Capacity) -> int:
    """Return the bytes that a worker needs for a stage; on GPU workers three shards of `infer` overlap in a thread."""
    overlap = needed is infer_bytes and where.gpu_workers > 0
    return worker_bytes(needed(work), where, _OVERLAPPING if overlap else 1)


def check_tasks(
    stage: Stage, needed: Callable[[Work], int], work: Work, chunk: int, where: Capacity, way_out: str = ""
) -> None:
    """Refuse a stage whose tasks would not fit into the memory of a worker.

    Args:
        stage: name.
        needed: `ingest_bytes`, `prepare_bytes` or `infer_bytes`.
        work: the largest of its tasks.
        chunk: cells, of which a shard is a multiple.
        where: the workers of the executor.
        way_out: what else would help, as the end of the message.

    Raises:
        UserError: they do not fit; the message says which shard would.
    """
    if problem := task_problem(stage, needed, work, chunk, where, way_out):
        raise UserError(problem)


def task_problem(
    stage: Stage, needed: Callable[[Work], int], work: Work, chunk: int, where: Capacity, way_out: str = ""
) -> str | None:
    """Return the message of `check_tasks`, or None where the tasks fit; the arguments are the same."""
    limit = task_limit(where)
    task = stage_bytes(needed, work, where)
    if task <= limit:
        return None
    in_process = where.scheduler is None
    threads = _threads_of_worker(where)
    of_threads = f" with {threads} threads, a shard each," if threads > 1 else ""
    text = (
        f"{stage}: a shard of {work.shard} cells a side needs about {task / _GIGABYTE:.1f} GB of memory"
        f"{of_threads} and {'this machine' if in_process else 'the smallest worker'} has {limit / _GIGABYTE:.1f} GB: "
    )
    sizes = [size for size in range(chunk, work.shard, chunk) if stage_bytes(needed, _of(work, size), where) <= limit]
    if sizes:
        again = "" if stage == Stage.INGEST else " (the cube is made again)"
        text += f"set ingest.shard = {sizes[-1]}{again}, or give "
    else:
        text += "no shard of whole chunks would fit: give "
    text += "it more memory." if in_process else "workers more memory (dask worker --memory-limit)"
    if not in_process:
        text += ", or fewer threads (--nthreads 1)." if threads > 1 else "."
    return f"{text} {way_out}" if way_out else text


def _of(work: Work, shard: int) -> Work:
    """Return the same work with another shard: a strip has as many more shards as they are smaller."""
    width = max(1, round(work.strip_width * work.shard / shard))
    return replace(work, shard=shard, cells=min(work.cells, shard**2), strip_width=width)


def work_of(
    grid: Grid, channels: Sequence[Channel], n_dates: int, cells: Mapping[Shard, int], outputs: Collection[str] = ()
) -> Work:
    """Return the largest task on a grid.

    Args:
        grid: cells and shards.
        channels: of the cube.
        n_dates: of the cube.
        cells: number of mapped cells of every shard.
        outputs: names, see inference.outputs.
    """
    largest = min(grid.shard, grid.shape[0]) * min(grid.shard, grid.shape[1])
    return Work(
        shard=grid.shard,
        cells=largest,
        mapped_share=min(1.0, max(cells.values(), default=0) / largest),
        n_dates=n_dates,
        item_sizes=tuple(np.dtype(channel.dtype).itemsize for channel in channels),
        series_outputs=len({"filled", "spread"} & set(outputs)),
    )
