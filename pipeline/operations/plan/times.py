"""The time of each stage: from a probe of one of its shards, or from its last run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pipeline.base.errors import UserError
from pipeline.cube.disk_space import shard_cells
from pipeline.operations.plan.made_up import MadeUp
from pipeline.operations.plan.probe import Probed, median_shard, probe_infer, probe_ingest, probe_prepare
from pipeline.operations.plan.states import Findings, StageState
from pipeline.operations.plan.training_probe import probe_training, training_seconds
from pipeline.runtime.executor import Capacity, Executor
from pipeline.runtime.summary import read_summary
from pipeline.stages.train.stage import make_estimator

PROBE: Final = "probe"
MADE_UP: Final = "probe on made-up series"
LAST_RUN: Final = "last run"


@dataclass(frozen=True)
class Timed:
    """An estimated time, and its origin."""

    seconds: float | None = None  # None: unknown
    timed_by: str = ""  # PROBE, MADE_UP or LAST_RUN


def stage_times(
    found: Findings, executor: Executor, where: Capacity, *, probe: bool
) -> tuple[dict[str, Timed], list[str]]:
    """Return the times by stage, and the problems of probes, which a run would have as well.

    Args:
        found: what is to be done.
        executor: where it would be done.
        where: its workers.
        probe: whether shards are done to time them; without it times come from the last run alone.
    """
    last = read_summary(found.config.year_folder)
    times, problems = {}, []
    for stage, state in found.states.items():
        if state.kind == "done":
            times[stage] = Timed(0.0)
        elif probe and state.kind != "refused" and stage in _PROBES:
            try:
                timed = _PROBES[stage](found, state, executor, where)
                if timed is not None:
                    times[stage] = timed
            except (UserError, OSError, ValueError) as error:
                problems.append(f"{stage}: a probe failed: {error}")
        if stage not in times:
            seconds = last.get(stage, {}).get("seconds")
            times[stage] = Timed() if seconds is None else Timed(float(seconds), LAST_RUN)
    return times, problems


def _made_up(found: Findings) -> MadeUp:
    return MadeUp(found.channels, found.config.year, found.config.ingest.calendar, found.grid)


def _scaled(probed: Probed, cells: int, n_tasks: int, where: Capacity, *, gpu: bool, timed_by: str) -> Timed:
    """Return the time of all tasks, as many at once as there are threads for them."""
    places = where.threads or 1
    if gpu and where.gpu_workers:
        places = where.gpu_workers
    return Timed(probed.seconds * cells / max(1, probed.cells) / max(1, min(places, n_tasks)), timed_by)


def _ingest(found: Findings, state: StageState, executor: Executor, where: Capacity) -> Timed | None:
    """Probe a strip; None where there are no files."""
    if found.intake is None or not found.strips:
        return None
    probed = probe_ingest(executor, found.intake.settings, found.grid, found.strips)
    cells = sum(shard_cells(found.grid, shard) for shard in state.to_do)
    return _scaled(probed, cells, len(found.strips), where, gpu=False, timed_by=PROBE)


def _prepare(found: Findings, state: StageState, executor: Executor, where: Capacity) -> Timed:
    there = found.states["ingest"].kind == "done"
    cube = found.config.cube if there else None
    shard = median_shard({shard: found.cells[shard] for shard in state.to_do} or found.cells)
    probed = probe_prepare(executor, found.config, cube, _made_up(found), shard)
    cells = sum(shard_cells(found.grid, shard) for shard in state.to_do)
    return _scaled(probed, cells, len(state.to_do), where, gpu=False, timed_by=_name(there))


def _train(found: Findings, state: StageState, executor: Executor, where: Capacity) -> Timed:
    config = found.config
    parameters = make_estimator(config).get_params()
    n = min(config.training.sample_pixels, found.train_cells)
    speed = probe_training(executor, parameters, n, found.n_dates, len(found.channels))
    population = found.train_cells if config.training.target == "all" else n
    return Timed(training_seconds(speed, parameters, n, population), PROBE)


def _infer(found: Findings, state: StageState, executor: Executor, where: Capacity) -> Timed:
    there, trained = found.cells_known, found.states["train"].kind == "done"
    cube = found.config.cube if there else None
    shard = median_shard({shard: found.cells[shard] for shard in state.to_do} or found.cells)
    probed = probe_infer(executor, found.config, cube, _made_up(found), shard, trained=trained)
    cells = sum(found.cells[shard] for shard in state.to_do)
    return _scaled(probed, cells, len(state.to_do), where, gpu=True, timed_by=_name(there))


def _name(there: bool) -> str:
    return PROBE if there else MADE_UP


_PROBES: dict[str, Callable[[Findings, StageState, Executor, Capacity], Timed | None]] = {
    "ingest": _ingest,
    "prepare": _prepare,
    "train": _train,
    "infer": _infer,
}
