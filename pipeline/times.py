"""How long each stage took: kept beside the year's outputs, so that a resumed run still tells the whole story."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.files import write_text


def read_times(folder: Path) -> dict[str, dict[str, Any]]:
    """By stage: seconds, and when it ended; empty where nothing has been recorded."""
    try:
        times: dict[str, dict[str, Any]] = json.loads((folder / "times.json").read_text())
    except (FileNotFoundError, ValueError):  # figures for information only: a damaged file is begun anew
        return {}
    return times


def record_time(folder: Path, stage: str, seconds: float) -> None:
    """Note that a stage has just done its work."""
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    times = {**read_times(folder), stage: {"seconds": round(seconds, 2), "ended": ended}}
    write_text(folder / "times.json", json.dumps(times, indent=1) + "\n")
