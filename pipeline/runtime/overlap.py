"""Reading, computing and writing at the same time: three tasks of a worker, each in its turn.

A task reads in the worker's thread. When it is its turn to compute it leaves that thread, so that the next task can
read meanwhile; when it is its turn to write, the next one computes. Each turn is one task's at a time, and is left
only for the next one: what is slowest sets the pace, and nothing piles up before it.

Meant for GPUs. On a CPU it gains little, for the network's many small operations and the tasks that read and write wait
for each other's hold of the interpreter (1.50 s a shard of 1024 x 1024 against 1.61 s one after the other, on a worker
with a second core to itself), and takes the memory of three tasks.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed import get_worker, secede

_computing, _writing = threading.Lock(), threading.Lock()  # of this process
_thread = threading.local()


@contextmanager
def stages_in_turn(*, overlap: bool) -> Iterator[Callable[[], None]]:
    """Compute in turn inside the block; call what it yields before writing.

    A worker of one thread then computes all the time, and holds what three tasks need: one has read, one computes, one
    writes. Without `overlap`, and outside of Dask, the block just runs.
    """
    if not overlap:
        yield lambda: None
        return
    _computing.acquire()
    held = _computing
    try:
        _leave_thread()

        def write() -> None:
            nonlocal held
            _writing.acquire()
            held.release()
            held = _writing

        yield write
    finally:
        held.release()


def _leave_thread() -> None:
    try:
        get_worker()
    except ValueError:  # not on a worker
        return
    if not getattr(_thread, "left", False):  # a task that is tried again has left; its thread takes no other
        _thread.left = True
        secede()
