"""Writing beside computing: a task that has computed leaves its place to the next one while it writes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import get_worker, secede

_writing = threading.BoundedSemaphore(1)  # one a process: writes that are slower than computing must not pile up

_thread = threading.local()


@contextmanager
def aside() -> Iterator[None]:
    """Let the worker begin its next task while the block runs; at most one task of a process is aside.

    So a worker with one thread computes all the time, and its memory is that of one task that computes and one that
    writes. Outside of Dask nothing is next: the block just runs.
    """
    with _writing:
        if _on_worker() and not getattr(_thread, "aside", False):
            _thread.aside = True  # a task that is tried again is aside already; its thread takes no other
            secede()
        yield


def _on_worker() -> bool:
    try:
        get_worker()
    except ValueError:
        return False
    return True
