"""The plan as a table for people: a line a stage, then totals, cluster and warnings."""

from datetime import timedelta
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.config.config import Config
from pipeline.cube.disk_space import gigabytes
from pipeline.operations.plan.plan import Line, Plan
from pipeline.operations.plan.times import LAST_RUN

_WIDTH: Final = 100  # columns where the output is no terminal
_UNKNOWN: Final = "unknown"


def print_plan(plan: Plan, config: Config) -> None:
    """Print a plan to standard output; without colours and frames where that is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH, no_color=True)
    console.print(_table(plan, framed=console.is_terminal))
    if any(line.time.timed_by == LAST_RUN for line in plan.lines):
        console.print("* as long as it took last time")
    for text in _totals(plan, config):
        console.print(text, markup=False)
    for warning in plan.warnings:
        console.print(f"note: {warning}", style="yellow", markup=False)


def _table(plan: Plan, *, framed: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD if framed else None, pad_edge=False, header_style="bold")
    for name in ("stage", "state", "to do", "done", "memory", "adds", "time"):
        table.add_column(name, justify="left" if name in ("stage", "state") else "right", overflow="fold")
    for line in plan.lines:
        table.add_row(*_row(line, plan.memory_limit))
    return table


def _row(line: Line, limit: int) -> tuple[str, ...]:
    state = line.state
    text = "cannot be done, see below" if state.kind == "refused" else str(state)
    shards = (str(len(state.to_do)), str(state.n_done)) if state.n_shards else ("", "")
    if state.kind == "done":
        return state.stage, text, *shards, "", "", ""
    memory = "" if line.memory is None else f"{_plain_gb(line.memory)} of {_plain_gb(limit)} GB"
    adds = "" if line.adds is None else gigabytes(line.adds)
    return state.stage, text, *shards, memory, adds, _time(line)


def _plain_gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f}"


def _time(line: Line) -> str:
    seconds = line.time.seconds
    if seconds is None:
        return _UNKNOWN
    return duration(seconds) + ("*" if line.time.timed_by == LAST_RUN else "")


def duration(seconds: float) -> str:
    """Write seconds as people read them: "0:12:30", below a minute "12 s"."""
    return f"{max(1, round(seconds))} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _totals(plan: Plan, config: Config) -> list[str]:
    unknown = [line.state.stage for line in plan.lines if line.time.seconds is None]
    beside = f", and what {', '.join(unknown)} may take" if unknown else ""
    time = _UNKNOWN if plan.seconds is None else duration(plan.seconds) if plan.seconds else "nothing to do"
    texts = [f"time   about {time}{beside}" if plan.seconds else f"time   {time}"]
    free = _UNKNOWN if plan.disk_free is None else f"{gigabytes(plan.disk_free)} free"
    texts.append(f"disk   about {gigabytes(plan.disk_needed)} needed, {free} at {config.out}")
    if config.local_folder != config.out and plan.local_free is not None:
        texts.append(f"       {gigabytes(plan.local_free)} free at {config.local_folder} (local)")
    where = plan.where
    if where.scheduler is None:
        texts.append("where  in this process, one shard after the other")
    else:
        texts.append(
            f"where  {where.scheduler}: {where.workers} workers with {where.threads} threads, "
            f"{where.gpu_workers} of them with a GPU"
        )
    return texts
