"""Measure how inference scales: time and memory by number of shards and workers, and the parts of the time.

    python -m benchmarks.scale [--quick] [--json FILE] [--folder DIR] [--mapped-share 0.2]

All measurements run the stage `infer` on local clusters of worker processes, on synthetic cubes (see
synthetic_cube.py). Times are those of the stage without the start of clusters. On a machine that does other work, only
ratios are reliable.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_task_stream

from benchmarks.report_table import machine, table
from benchmarks.scale_report import PARTS, Part, begin_scratch, nothing
from benchmarks.synthetic_cube import make_cube, make_model
from pipeline.base import accounting
from pipeline.base.progress import Silent
from pipeline.config.config import Config, load_config
from pipeline.cube import layout, stores
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.stage import run_shards
from pipeline.stages.infer.stage import infer

MEGABYTE = 1e6
Row = dict[str, float | str]  # of a table, by column


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements."""

    counts: Sequence[int]  # of shards, for growth
    shard: int
    large: int  # cells along y and x of a shard of the layout for 10 m
    large_count: int
    pair: int  # shards for one against two workers
    many: int  # shards for orchestration ...
    small: int  # ... and their cells along y and x
    parts: int  # shards for the parts
    repeats: int


FULL = Sizes((1, 4, 16, 64), 1024, 2048, 2, 16, 256, 512, 8, 2)
QUICK = Sizes((1, 4), 512, 1024, 1, 4, 64, 128, 2, 1)


@dataclass(frozen=True)
class Run:
    """One run of the stage."""

    seconds: float
    busy: float  # s in which a worker had a task to work on, of all workers together
    cpu: float  # s of processor time of all workers together, which other work on the machine does not change
    pixels: int
    peak: int  # bytes resident, the most of any worker

    @property
    def rate(self) -> float:
        """Return pixels a second."""
        return self.pixels / self.seconds


def warm_up() -> None:
    """Import what tasks need, which is not measured."""


@contextmanager
def workers(config: Config, n: int) -> Iterator[OnDask]:
    """Yield an executor on n worker processes that are ready to work."""
    settings = config.cluster.model_copy(update={"scheduler": "local", "workers": n})
    with open_executor(settings) as (executor, _):
        if not isinstance(executor, OnDask):
            raise TypeError("a local cluster is meant")
        executor.client.wait_for_workers(n)
        executor.client.run(warm_up)
        yield executor


def run(config: Config, executor: OnDask) -> Run:
    """Run the stage from the beginning."""
    shutil.rmtree(str(config.map), ignore_errors=True)
    cpu = sum(executor.client.run(time.process_time).values())
    started = time.perf_counter()
    with accounting.collecting() as account, get_task_stream(executor.client) as stream:
        infer(config, executor)
    seconds = time.perf_counter() - started
    cpu = sum(executor.client.run(time.process_time).values()) - cpu
    peak = max(executor.client.run(accounting.peak_memory).values())
    return Run(seconds, busy_seconds(stream.data), cpu, account.pixels, peak)


def busy_seconds(stream: Sequence[Mapping[str, Any]]) -> float:
    """Return the time in which workers had a task, of all workers together; tasks of one worker may overlap."""
    total, end = 0.0, dict.fromkeys((task["worker"] for task in stream), 0.0)
    spans = [(task["worker"], one) for task in stream for one in task["startstops"] if one["action"] == "compute"]
    for worker, span in sorted(spans, key=lambda found: found[1]["start"]):
        total += max(0.0, span["stop"] - max(span["start"], end[worker]))
        end[worker] = max(end[worker], span["stop"])
    return total


@contextmanager
def country(folder: Path, n_shards: int, shard: int, share: float) -> Iterator[Config]:
    """Make a cube and its model; both are removed at the end."""
    config = load_config(year=2018, out=folder / f"{n_shards}x{shard}")
    make_cube(config, n_shards, shard, chunk=min(128 if shard < 2048 else 256, shard), mapped_share=share)
    make_model(config)
    try:
        yield config
    finally:
        shutil.rmtree(str(config.out))


# ---- the measurements


def growth(folder: Path, sizes: Sizes, share: float) -> list[Row]:
    """Measure time and memory of one worker by number of shards."""
    rows: list[Row] = []
    first: Run | None = None
    for n in sizes.counts:
        with country(folder, n, sizes.shard, share) as config, workers(config, 1) as executor:
            found = run(config, executor)
        first = first or found
        rows.append(
            {
                "shards": n,
                "seconds": found.seconds,
                "pixels/s": found.rate,
                "of linear": found.seconds / (n * first.seconds),
                "CPU s a shard": found.cpu / n,
                "peak MB": found.peak / MEGABYTE,
                "of one shard's peak": found.peak / first.peak,
            }
        )
    return rows


def large_shards(folder: Path, sizes: Sizes, share: float) -> list[Row]:
    """Measure the memory of a worker at the layout for 10 m."""
    with country(folder, sizes.large_count, sizes.large, share) as config, workers(config, 1) as executor:
        found = run(config, executor)
    return [
        {"shards": sizes.large_count, "shard": sizes.large, "pixels/s": found.rate, "peak MB": found.peak / MEGABYTE}
    ]


def one_against_two(folder: Path, sizes: Sizes, share: float) -> list[Row]:
    """Measure the same shards on one worker and on two, in turn; the better of the repeats counts."""
    best: dict[int, Run] = {}
    with country(folder, sizes.pair, sizes.shard, share) as config:
        for _ in range(sizes.repeats):
            for n in (1, 2):
                with workers(config, n) as executor:
                    found = run(config, executor)
                best[n] = max(found, best.get(n, found), key=lambda one: one.rate)
    return [
        {
            "workers": n,
            "pixels/s": found.rate,
            "of one worker": found.rate / best[1].rate,
            "CPU s a shard": found.cpu / sizes.pair,
        }
        for n, found in best.items()
    ]


def orchestration(folder: Path, sizes: Sizes, share: float) -> list[Row]:
    """Measure the time without work: the share of two workers' time without a task, and the cost of empty tasks."""
    with country(folder, sizes.many, sizes.small, share) as config, workers(config, 2) as executor:
        found = run(config, executor)
        grid = layout.read_grid(stores.open_to_read(config.cube))
        started = time.perf_counter()
        for _ in run_shards(executor, nothing, grid.shards, "nothing", Silent()):
            pass
        empty = time.perf_counter() - started
    return [
        {
            "shards": sizes.many,
            "shard": sizes.small,
            "seconds": found.seconds,
            "orchestration": 1 - found.busy / (2 * found.seconds),
            "ms an empty task": 1000 * empty / sizes.many,
            "empty tasks' share": empty / found.seconds,
        }
    ]


def parts(folder: Path, sizes: Sizes, share: float) -> list[Row]:
    """Measure the stage on one worker and its parts alone, in turn; the better of the repeats counts."""
    best: dict[str, float] = {}
    with country(folder, sizes.parts, sizes.shard, share) as config, workers(config, 1) as executor:
        shards = layout.read_grid(stores.open_to_read(config.cube)).shards
        for _ in range(sizes.repeats):
            whole = run(config, executor)
            begin_scratch(config)
            taken = {"end to end": whole.seconds}
            for name in PARTS:
                taken[name] = sum(run_shards(executor, Part(config, name), shards, "part", Silent()))
            best = {name: min(seconds, best.get(name, seconds)) for name, seconds in taken.items()}
        pixels = whole.pixels
    slowest = max(best[name] for name in PARTS)
    return [
        {
            "part": name,
            "s a shard": seconds / sizes.parts,
            "pixels/s": pixels / seconds,
            "slowest part's time / this": slowest / seconds,
        }
        for name, seconds in best.items()
    ]


MEASUREMENTS = {
    "growth: one worker": growth,
    "large shards: one worker": large_shards,
    "one against two workers": one_against_two,
    "orchestration: two workers": orchestration,
    "parts: one worker": parts,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small shards and few: two minutes")
    parser.add_argument("--only", choices=[name.partition(":")[0] for name in MEASUREMENTS], action="append")
    parser.add_argument("--mapped-share", type=float, default=0.2, help="of the cells; 0.2 of Italy is cropland")
    parser.add_argument("--shards", type=int, nargs="+", help="numbers of shards for growth")
    parser.add_argument("--shard", type=int, help="cells along y and x of a shard")
    parser.add_argument("--folder", type=Path, help="for intermediate data (3 GB); removed at the end")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    given = {"counts": arguments.shards, "shard": arguments.shard}
    sizes = Sizes(**{**vars(QUICK if arguments.quick else FULL), **{k: v for k, v in given.items() if v is not None}})
    described = machine()
    figures: dict[str, object] = {"machine": described, "sizes": vars(sizes), "mapped share": arguments.mapped_share}
    for name, value in described.items():
        print(f"{name:>12}: {value}")
    for name, measure in MEASUREMENTS.items():
        if arguments.only and name.partition(":")[0] not in arguments.only:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            figures[name] = rows = measure(Path(folder), sizes, arguments.mapped_share)
        print(f"\n{name} ({time.perf_counter() - started:.0f} s)\n{table(rows)}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
