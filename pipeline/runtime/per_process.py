"""What tasks need at hand, such as a trained network: made once in every process that they run in."""

from collections.abc import Callable
from typing import Any

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

GPU = "GPU"  # the resource that a worker with a GPU declares: `dask worker ... --resources GPU=1`
_held: dict[str, Any] = {}


def make(key: str, maker: Callable[[str], Any], device: str) -> None:
    """Make it with `maker(device)`; an error is kept and raised where it is asked for."""
    try:
        _held[key] = maker(device)
    except Exception as error:  # a worker must start nevertheless: its tasks fail, and say why
        _held[key] = error


def get(key: str) -> Any:
    """What was made under this key in this process.

    Raises:
        Exception: what making it raised.
    """
    made = _held[key]
    if isinstance(made, Exception):
        raise made
    return made


def drop(key: str) -> None:
    """Forget it."""
    _held.pop(key, None)


def problem(key: str) -> str | None:
    """Why it could not be made in this process, or None."""
    made = _held.get(key)
    return f"{type(made).__name__}: {made}" if isinstance(made, Exception) else None


class Holder(WorkerPlugin):
    """Makes it when a worker starts, on the GPU of those that declare one, and drops it when it is no longer needed."""

    idempotent = False

    def __init__(self, key: str, make: Callable[[str], Any]) -> None:
        self.name = f"sitscube-{key}"
        self._key, self._make = key, make

    def setup(self, worker: Worker) -> None:
        """Called by Dask on every worker, also on those that join later."""
        make(self._key, self._make, "auto" if worker.state.total_resources.get(GPU) else "cpu")

    def teardown(self, worker: Worker) -> None:
        """Called by Dask when the plugin is unregistered, or the worker ends."""
        drop(self._key)
