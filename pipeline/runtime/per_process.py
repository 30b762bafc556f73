"""Objects that tasks need, such as a trained network: made once in every process in which tasks run."""

from collections.abc import Callable
from typing import Any

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

GPU = "GPU"  # the resource that a worker with a GPU declares: `dask worker ... --resources GPU=1`
_objects: dict[str, object] = {}


def make(key: str, maker: Callable[[str], Any], device: str) -> None:
    """Make an object with `maker(device)`; an error is kept, and raised by `get`."""
    try:
        _objects[key] = maker(device)
    except Exception as error:  # noqa: BLE001 - a worker must start nevertheless: its tasks fail, with the reason
        _objects[key] = error


def get(key: str) -> Any:
    """Return the object that was made under a key in this process.

    Raises:
        Exception: the error that `make` kept.
    """
    made = _objects[key]
    if isinstance(made, Exception):
        raise made
    return made


def drop(key: str) -> None:
    """Delete an object."""
    _objects.pop(key, None)


def problem(key: str) -> str | None:
    """Return why an object could not be made in this process, or None."""
    made = _objects.get(key)
    return f"{type(made).__name__}: {made}" if isinstance(made, Exception) else None


class Holder(WorkerPlugin):
    """A plugin that makes an object when a worker starts, on its GPU if it declares one, and deletes it at the end."""

    idempotent = False

    def __init__(self, key: str, make: Callable[[str], Any]) -> None:
        self.name = f"sitscube-{key}"
        self._key, self._make = key, make

    def setup(self, worker: Worker) -> None:
        """Make the object: called by Dask on every worker, also on those that join later."""
        make(self._key, self._make, "auto" if worker.state.total_resources.get(GPU) else "cpu")

    def teardown(self, worker: Worker) -> None:
        """Delete the object: called by Dask when the plugin is unregistered, or the worker ends."""
        drop(self._key)
