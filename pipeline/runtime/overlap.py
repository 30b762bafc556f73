"""Overlap of reading, computing and writing: three tasks of a worker, each in one of these steps.

A task reads in the worker's thread. When it may compute it leaves that thread, so that the next task can read at the
same time; when it may write, the next one computes. One task at a time is in each step, and stays there until the next
step is free: the slowest step sets the pace, and no queue grows before it.

This is for GPUs. On a CPU it gains little: the network's many small operations compete for the interpreter's lock with
the tasks that read and write (1.50 s a shard of 1024 x 1024 against 1.61 s one after the other, on a worker with a
second core to itself). It takes the memory of three tasks.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed import get_worker, secede

_computing, _writing = threading.Lock(), threading.Lock()  # of this process
_thread = threading.local()


@contextmanager
def stages_in_turn(*, overlap: bool) -> Iterator[Callable[[], None]]:
    """Wait until this task may compute, and yield a function to call before it writes.

    A worker of one thread then computes all the time, with three tasks in memory: one has read, one computes, one
    writes. Without `overlap`, and outside of Dask, nothing waits.
    """
    if not overlap:
        yield lambda: None
        return
    _computing.acquire()
    step = _computing
    try:
        _leave_thread()

        def write() -> None:
            nonlocal step
            _writing.acquire()
            step.release()
            step = _writing

        yield write
    finally:
        step.release()


def _leave_thread() -> None:
    try:
        get_worker()
    except ValueError:  # not on a worker
        return
    if not getattr(_thread, "left", False):  # a task that is tried again has left already
        _thread.left = True
        secede()
