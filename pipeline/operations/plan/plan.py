"""The plan of a run: shards, memory, disk and time of every stage, and what prevents it, before anything is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from pipeline.base.errors import UserError
from pipeline.base.locations import check_readable
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.cube.disk_space import free_bytes, lack_of_room, without_series
from pipeline.operations.plan.needs import disk_of_stages, memory_of_stages
from pipeline.operations.plan.states import Findings, StageState, look_at_stages
from pipeline.operations.plan.times import MADE_UP, Timed, stage_times
from pipeline.runtime.executor import Capacity, Executor
from pipeline.runtime.machine import gpus
from pipeline.stages.memory import task_limit
from pipeline.stages.reference import open_reference


@dataclass(frozen=True)
class Line:
    """A stage of the plan."""

    state: StageState
    memory: int | None = None  # bytes of a worker that does its tasks; None: it has none, or they are small
    disk: Mapping[str, int] | None = None  # bytes that it adds, by array or file; None: unknown
    time: Timed = field(default_factory=Timed)

    @property
    def adds(self) -> int | None:
        """Return the bytes that it adds in all; None: unknown."""
        return None if self.disk is None else sum(self.disk.values())

    def as_json(self) -> "StageJson":
        """Return the stage for a JSON file, shards to do by name."""
        state = self.state
        return {
            "state": state.kind,
            "after": state.after or None,
            "note": state.note,
            "shards": state.n_shards,
            "shards_done": state.n_done,
            "shards_to_do": [str(shard) for shard in state.to_do],
            "memory": self.memory,
            "disk": None if self.disk is None else dict(self.disk),
            "seconds": self.time.seconds,
            "timed_by": self.time.timed_by,
        }


@dataclass(frozen=True)
class Plan:
    """All stages of a run, what they need, and what prevents them."""

    lines: tuple[Line, ...]
    where: Capacity  # the workers of the executor
    memory_limit: int  # bytes of the smallest worker
    disk_free: int | None  # bytes where outputs go; None: unknown
    local_free: int | None  # bytes at the folder for files on this machine
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # each with what to change

    @property
    def disk_needed(self) -> int:
        """Return the bytes that all stages add, as far as they are known."""
        return sum(line.adds or 0 for line in self.lines)

    @property
    def seconds(self) -> float | None:
        """Return the seconds of all that is to be done, as far as they are known; None where nothing is known."""
        known = [line.time.seconds for line in self.lines if line.time.seconds is not None]
        return sum(known) if known else None

    def check(self) -> None:
        """Refuse a run that cannot be done.

        Raises:
            UserError: something does not fit or is missing; the message lists all of it, with what to change.
        """
        if self.problems:
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            raise UserError(f"this cannot be done as it is planned:\n{listed}")

    def as_json(self) -> "PlanJson":
        """Return all of it for a JSON file."""
        return {
            "stages": {line.state.stage: line.as_json() for line in self.lines},
            "cluster": self.where.as_json(),
            "disk_needed": self.disk_needed,
            "disk_free": self.disk_free,
            "local_free": self.local_free,
            "memory_limit": self.memory_limit,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "problems": self.problems,
            "possible": not self.problems,
        }


class StageJson(TypedDict):
    """A stage of a plan in its JSON file; None: unknown."""

    state: str
    after: str | None  # the stage that it waits for
    note: str
    shards: int
    shards_done: int
    shards_to_do: list[str]
    memory: int | None  # bytes
    disk: dict[str, int] | None  # bytes, by array or file
    seconds: float | None
    timed_by: str


class PlanJson(TypedDict):
    """A plan as its JSON file has it; None: unknown."""

    stages: dict[str, StageJson]
    cluster: Mapping[str, Any]  # the executor's description
    disk_needed: int
    disk_free: int | None
    local_free: int | None
    memory_limit: int
    seconds: float | None
    warnings: list[str]
    problems: list[str]
    possible: bool


def make_plan(config: Config, executor: Executor, reporter: Reporter, *, probe: bool = True) -> Plan:
    """Plan a whole run from what is there; nothing is written where outputs go.

    Args:
        config: of the run.
        executor: where it would run; its tasks are probed there.
        reporter: receives the progress of reading the files.
        probe: whether a shard of each stage is done, and some iterations of training, to time them.

    Raises:
        UserError: the region or the grid cannot be used, outputs cannot be reached, or their place has
            other files.
    """
    check_readable(config.out)
    where = executor.describe()
    found = look_at_stages(config, executor, reporter)
    memory, problems = memory_of_stages(found, where)
    disk, ratios_known = disk_of_stages(found)
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
    """Return the problems that no figure is needed for."""
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
    return bool(where.gpu_workers) or gpus() > 0


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
