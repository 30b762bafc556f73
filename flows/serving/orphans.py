"""Processes that outlive the part that had started them: the flow of a Prefect worker that was killed goes on.

Linux hands them to the nearest ancestor that asks for them; elsewhere they are not known here.
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
    """Become the parent of whatever is left behind by processes below this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap(parts: Iterable[int | None]) -> None:
    """Take notice of orphans that have ended, so that they do not stay in the table of processes.

    Args:
        parts: children that are no orphans.
    """
    for orphan in _orphans(parts):
        with suppress(psutil.NoSuchProcess, ChildProcessError):
            if orphan.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(orphan.pid, os.WNOHANG)


def end(parts: Iterable[int | None]) -> None:
    """End all orphans and what is below them: politely, then by force.

    Args:
        parts: children that are no orphans.
    """
    left: list[psutil.Process] = []
    for orphan in _orphans(parts):
        with suppress(psutil.NoSuchProcess):
            left += [orphan, *orphan.children(recursive=True)]
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in left:
            with suppress(psutil.NoSuchProcess):
                ask(process)
        _gone, left = psutil.wait_procs(left, _GRACE)


def _orphans(parts: Iterable[int | None]) -> list[psutil.Process]:
    own = set(parts)
    return [child for child in psutil.Process().children() if child.pid not in own]
