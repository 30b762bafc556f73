"""What a run would do, and whether it can: shards, memory, disk and time of every stage, before anything is done."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from pipeline.base.errors import UserError
from pipeline.base.locations import Location, check_readable
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.cube.channels import filled_name, spread_names
from pipeline.cube.clusters import years_to_write
from pipeline.cube.disk_space import added_bytes, free_bytes, gigabytes, known_ratios, lack_of_room, without_series
from pipeline.cube.label_names import unnamed
from pipeline.cube.layout import Layer
from pipeline.cube.map_layers import CONFIDENCE, LABEL, map_layers
from pipeline.operations.plan.states import Findings, StageState, look_at_stages
from pipeline.operations.plan.times import MADE_UP, Timed, stage_times
from pipeline.runtime.executor import Capacity, Executor
from pipeline.stages.ingest.strips import layers as ingest_layers
from pipeline.stages.ingest.strips import pixels_per_cell, strip_width
from pipeline.stages.memory import (
    Work,
    check_sample,
    infer_bytes,
    ingest_bytes,
    prepare_bytes,
    stage_bytes,
    task_limit,
    task_problem,
    training_bytes,
    training_limit,
    work_of,
)
from pipeline.stages.prepare import layers as prepare_layers
from pipeline.stages.reference import open_reference

_FORMULAS: Final = {"ingest": ingest_bytes, "prepare": prepare_bytes, "infer": infer_bytes}


@dataclass(frozen=True)
class Line:
    """A stage of the plan."""

    state: StageState
    memory: int | None = None  # bytes of a worker that does its tasks; None: it has none, or they are small
    disk: Mapping[str, int] | None = None  # bytes that it adds, by array or file; None: unknown
    time: Timed = field(default_factory=Timed)

    @property
    def adds(self) -> int | None:
        """Bytes that it adds in all."""
        return None if self.disk is None else sum(self.disk.values())


@dataclass(frozen=True)
class Plan:
    """What would be done."""

    lines: tuple[Line, ...]
    where: Capacity  # the workers of the executor
    memory_limit: int  # bytes of the smallest worker
    disk_free: int | None  # bytes where outputs go; None: nobody tells
    local_free: int | None  # bytes at the folder for files on this machine
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # each with what to change

    @property
    def disk_needed(self) -> int:
        """Bytes that all stages add, as far as it is known."""
        return sum(line.adds or 0 for line in self.lines)

    @property
    def seconds(self) -> float | None:
        """Of all that is to be done, as far as it is known; None where nothing is."""
        known = [line.time.seconds for line in self.lines if line.time.seconds is not None]
        return sum(known) if known else None

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            UserError: something does not fit or is missing; the message lists all of it, with what to change.
        """
        if self.problems:
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            raise UserError(f"this cannot be done as it is planned:\n{listed}")

    def as_json(self) -> dict[str, Any]:
        """All of it, JSON-able; shards to do by name."""
        stages = {}
        for line in self.lines:
            state = line.state
            stages[state.stage] = {
                "state": state.kind,
                "after": state.after or None,
                "note": state.note,
                "shards": state.n_shards,
                "shards_done": state.n_done,
                "shards_to_do": [str(shard) for shard in state.to_do],
                "memory": line.memory,
                "disk": None if line.disk is None else dict(line.disk),
                **asdict(line.time),
            }
        totals: dict[str, Any] = {
            "disk_needed": self.disk_needed,
            "disk_free": self.disk_free,
            "local_free": self.local_free,
        }
        totals |= {"memory_limit": self.memory_limit, "seconds": self.seconds}
        told = {"warnings": self.warnings, "problems": self.problems}
        return {"stages": stages, "cluster": self.where.as_json(), **totals, **told, "possible": not self.problems}


def make_plan(config: Config, executor: Executor, reporter: Reporter, *, probe: bool = True) -> Plan:
    """Look at what is there and work out what a whole run would do; nothing is written where outputs go.

    Args:
        config: of the run.
        executor: where it would run; its tasks are probed there.
        reporter: told of the look at the files.
        probe: whether a shard is done, and some iterations of training, to know how long all would take.

    Raises:
        UserError: the region or the grid cannot be used, outputs cannot be reached, or something that is not ours lies
            where they go.
    """
    check_readable(config.out)
    where = executor.describe()
    found = look_at_stages(config, executor, reporter)
    memory, problems = _memory(found, where)
    disk, ratios_known = _disk(found)
    out_free, local_free = free_bytes(config.out), free_bytes(config.local_folder)
    problems = [*_impossible(found, where), *problems]
    needed = sum(sum(adds.values()) for adds in disk.values() if adds)
    if out_free is not None and needed > out_free:
        problems.append(lack_of_room(config.out, needed, out_free, "this run", without_series(disk["infer"] or {})))
    warnings = _warnings(found, where, ratios_known)
    times: Mapping[str, Timed] = {}
    if not problems or not probe:
        times, failed = stage_times(found, executor, where, probe=probe)
        problems += failed
        if made_up := [stage for stage, timed in times.items() if timed.timed_by == MADE_UP]:
            warnings.append(f"{', '.join(made_up)}: timed on made-up series, for there is no cube to try it on yet")
    else:
        warnings.append("nothing was timed, for it cannot be done")
    lines = tuple(
        Line(state, memory.get(stage), {} if state.kind == "done" else disk.get(stage), times.get(stage, Timed()))
        for stage, state in found.states.items()
    )
    return Plan(lines, where, task_limit(where), out_free, local_free, warnings, problems)


def _impossible(found: Findings, where: Capacity) -> list[str]:
    """What is missing, before any figure."""
    config = found.config
    problems = [f"{state.stage}: {state.note}" for state in found.states.values() if state.kind == "refused"]
    if config.reference.path is not None:
        try:
            open_reference(config)
        except UserError as error:
            if not any(str(error) in problem for problem in problems):
                problems.append(str(error))
    if where.scheduler is not None and not where.workers:
        problems.append(f"the Dask scheduler at {where.scheduler} has no workers: start some with `dask worker`.")
    if config.training.device.startswith("cuda") and not _has_gpu(where):
        problems.append(
            f"training.device is {config.training.device!r}, and neither this machine nor a worker has a GPU: start "
            "one with `dask worker --resources GPU=1`, or set training.device = 'auto'."
        )
    return problems


def _has_gpu(where: Capacity) -> bool:
    from pipeline.runtime.dask.cluster import gpus

    return bool(where.gpu_workers) or gpus() > 0


def _memory(found: Findings, where: Capacity) -> tuple[dict[str, int], list[str]]:
    """Bytes of a worker by stage, and what does not fit."""
    config = found.config
    needed, problems = {}, []
    work = _work(found)
    for stage, state in found.states.items():
        if state.kind in ("done", "refused"):
            continue
        if stage == "train":
            n = min(found.train_cells, config.training.sample_pixels)
            if not found.cells_known and config.training.sample_pixels < found.train_cells:
                n = config.training.sample_pixels
            needed[stage] = training_bytes(n, found.n_dates, len(found.channels), config.training.batch_size)
            try:
                limit = training_limit(where)
                check_sample(config, n, found.n_dates, len(found.channels), limit)
            except UserError as error:
                problems.append(f"train: {error}")
        elif stage in _FORMULAS:
            formula = _FORMULAS[stage]
            needed[stage] = stage_bytes(formula, work, where)
            way_out = _without_series(work) if stage == "infer" else ""
            if problem := task_problem(stage, formula, work, found.grid.chunk, where, way_out):
                problems.append(problem)
    return needed, problems


def _work(found: Findings) -> Work:
    """The largest task of every stage."""
    grid = found.grid
    work = work_of(grid, found.channels, found.n_dates, found.cells, found.config.inference.outputs)
    width = strip_width(found.source, grid)
    scenes = () if found.intake is None else found.intake.inventory.scenes
    return work.reading(width, pixels_per_cell(grid, scenes))


def _without_series(work: Work) -> str:
    if not work.series_outputs:
        return ""
    less = infer_bytes(work) - infer_bytes(work.without_series())
    return f"Leaving filled and spread out of inference.outputs saves {gigabytes(less)} a task."


def _disk(found: Findings) -> tuple[dict[str, dict[str, int] | None], bool]:
    """Bytes that every stage adds, by array, and whether they follow from what is already written."""
    config, grid = found.config, found.grid
    of_cube = known_ratios(config.cube, grid, found.region)
    grows = partial(_growth, found)
    like: dict[str, float] = {}
    for channel, spread in zip(found.channels, spread_names(found.channels), strict=True):
        if channel.name in of_cube:  # what is filled is as rough as what it is filled from
            ratio = min(1.0, of_cube[channel.name])
            like |= {filled_name(channel): ratio, spread: ratio}
    outputs = map_layers(unnamed(config.training.clusters), found.channels, config.inference.outputs)
    disk: dict[str, dict[str, int] | None] = dict.fromkeys(found.states)
    disk["ingest"] = grows("ingest", config.cube, ingest_layers(found.channels), {})
    disk["prepare"] = grows("prepare", config.cube, prepare_layers(found.channels), {})
    disk["infer"] = grows("infer", config.map, outputs, like)
    if found.states["publish"].kind != "done":
        layers = map_layers(unnamed(config.training.clusters), found.channels, (LABEL, CONFIDENCE))
        of_year = added_bytes(config.clusters, layers, 1, grid, found.cells, grid.shards, {})
        years = years_to_write(config.clusters, config.year)
        disk["publish"] = {name: years * size for name, size in of_year.items()}
    return disk, bool(of_cube)


def _growth(
    found: Findings, stage: str, path: Location, layers: Sequence[Layer], like: Mapping[str, float]
) -> dict[str, int]:
    to_do = found.states[stage].to_do if stage in found.states else ()
    cells = found.cells if stage == "infer" else found.region
    return added_bytes(path, layers, found.n_dates, found.grid, cells, to_do, like)


def _warnings(found: Findings, where: Capacity, ratios_known: bool) -> list[str]:
    config = found.config
    warnings: list[str] = []
    working = [state for state in found.states.values() if state.kind not in ("done", "refused")]
    if not working:
        return warnings
    if not found.cells_known:
        warnings.append(
            f"which cells are mapped is known after prepare: all {sum(found.cells.values()):,} of the region are "
            "counted, the most that there can be"
        )
    if not ratios_known:
        warnings.append("how well the series compress is known after ingest: 60 % of their bytes are counted")
    if free_bytes(config.out) is None:
        warnings.append(f"nobody tells how much room there is at {config.out}")
    unknown = [name for name in ("simulate", "download") if name in found.states and found.states[name] in working]
    if unknown:
        warnings.append(f"how many bytes {' and '.join(unknown)} will add in {config.local_folder} is not known")
    n = max((len(state.to_do) for state in working), default=0)
    if where.threads > n > 0:
        warnings.append(
            f"{where.threads} threads and at most {n} shards to do: a smaller ingest.shard would keep more busy"
        )
    return warnings
