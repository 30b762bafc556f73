"""Processes that outlive the one that started them: the flow of a Prefect worker that was killed goes on.

Linux makes them children of the nearest ancestor that asks for it. On other systems they are not found.
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import psutil

_PR_SET_CHILD_SUBREAPER: Final = 36  # of Linux's prctl
_GRACE: Final = 20.0  # s to end after SIGTERM


def adopt() -> None:
    """Become the parent of processes that are left behind below this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(own: Iterable[int | None]) -> None:
    """Reap orphans that have ended, so that they do not stay in the system's table of processes.

    Args:
        own: numbers of children that are no orphans.
    """
    for orphan in _orphans(own):
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if orphan.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(orphan.pid, os.WNOHANG)


def end(own: Iterable[int | None]) -> None:
    """End all orphans and what is below them: politely, then by force.

    Args:
        own: numbers of children that are no orphans.
    """
    alive: list[psutil.Process] = []
    for orphan in _orphans(own):
        with suppress(psutil.NoSuchProcess):
            alive += [orphan, *orphan.children(recursive=True)]
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                ask(process)
        _gone, alive = psutil.wait_procs(alive, _GRACE)


def _orphans(own: Iterable[int | None]) -> list[psutil.Process]:
    numbers = set(own)
    return [child for child in psutil.Process().children() if child.pid not in numbers]
