"""Faults at the n-th change of stored files, like those of SIGKILL or a full disk."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

DISK = ((os, "replace"), (os, "unlink"), (os, "rename"))
MEMORY = ((MemoryFileSystem, "pipe_file"), (MemoryFileSystem, "rm_file"), (MemoryFileSystem, "cp_file"))


class Killed(Exception):
    """The end of the process."""


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def ended_after(
    changes: int,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[], Exception] = Killed,
    where: tuple[tuple[Any, str], ...] = DISK + MEMORY,
) -> Iterator[list[int]]:
    """Let some changes pass and fail at every later one; yield a list with the number of changes made."""
    done = [0]

    def limited(function: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **options: Any) -> Any:
            if done[0] >= changes:
                raise fault()
            done[0] += 1
            return function(*arguments, **options)

        return change

    with monkeypatch.context() as patch:
        for owner, name in where:
            patch.setattr(owner, name, limited(getattr(owner, name)))
        yield done
