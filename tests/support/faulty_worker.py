"""A module that a Dask worker runs first (`dask worker --preload`): reading some shards of a cube then fails.

The JSON file that SHARD_FAULTS names lists them, and may change at any time: {"y0x1": "raise", "worker-1": "sleep:60",
"*": "sleep:0.1"}, by shard, by name of the worker, or for all others. "raise" raises an error, "kill" is a SIGKILL to
the worker, "sleep" waits some seconds and reads then, "hold" waits until the file has another entry.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Final

import numpy as np
import zarr
from distributed import Worker

from pipeline.cube import layout, stores

VARIABLE: Final = "SHARD_FAULTS"
_read = stores.read_window


def set_faults(path: Path, faults: dict[str, str]) -> None:
    """Set the faults."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(faults))
    beside.replace(path)


def dask_setup(worker: Worker) -> None:
    """Make reading fail: called by Dask in the worker's process before its first task."""

    def read_window(group: zarr.Group, name: str, window: tuple[slice, slice]) -> np.ndarray:
        if name == "fpar":
            size = layout.read_grid(group).shard
            place = f"y{window[0].start // size}x{window[1].start // size}"
            while (fault := _fault(place, str(worker.name))) == "hold":
                time.sleep(0.02)
            _fail(fault, place)
        return _read(group, name, window)

    stores.read_window = read_window


def _fault(place: str, worker: str) -> str:
    faults = json.loads(Path(os.environ[VARIABLE]).read_text())
    return next((faults[key] for key in (place, worker, "*") if key in faults), "")


def _fail(fault: str, place: str) -> None:
    kind, _, seconds = fault.partition(":")
    if kind == "raise":
        raise RuntimeError(f"made to fail at {place}")
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sleep":
        time.sleep(float(seconds))
