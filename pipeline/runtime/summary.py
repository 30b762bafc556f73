"""The file `summary.json` beside the year's outputs: time, memory and failures of every stage, over resumed runs."""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.base.accounting import Account, peak_memory
from pipeline.base.files import write_text
from pipeline.base.locations import Location
from pipeline.runtime.executor import Capacity

FILE: Final = "summary.json"


def read_summary(folder: Location) -> dict[str, dict[str, Any]]:
    """Return the records of `record_stage` by stage; empty where nothing has been recorded."""
    try:
        summary: dict[str, dict[str, Any]] = json.loads((folder / FILE).read_text())
    except (FileNotFoundError, ValueError):  # for information only: a damaged file is written again
        return {}
    return summary


def record_stage(
    folder: Location,
    stage: str,
    started: float,
    tasks: Account,
    where: Capacity,
    failed: dict[str, str] | None = None,
) -> float:
    """Record what a stage has just done, and return the seconds that it took.

    Args:
        folder: of the year.
        stage: its name.
        started: `time.perf_counter()` when it began.
        tasks: the sum of its tasks' accounts.
        where: the workers that did them.
        failed: shards that failed, with the reason.
    """
    seconds = time.perf_counter() - started
    entry = {
        "seconds": round(seconds, 2),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "tasks": tasks.shards,
        "task_seconds": round(tasks.seconds, 2),
        "pixels": tasks.pixels,
        "pixels_per_second": round(tasks.pixels / seconds, 1),
        "bytes_read": tasks.bytes_read,
        "bytes_written": tasks.bytes_written,
        "peak_memory": tasks.peak_memory or peak_memory(),  # a stage without tasks works in this process
        "failed": failed or {},
        "where": where.as_json(),
    }
    write_text(folder / FILE, json.dumps({**read_summary(folder), stage: entry}, indent=1) + "\n")
    return seconds
