"""The lock of a store: tasks of an earlier run that still write must not mix with what a later run has begun.

Writers share it, and a change of what they rely on excludes them. It is flock(2), which needs POSIX; filelock's locks
for readers and writers need SQLite, or a thread that renews them in every task.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.base.errors import UserError
from pipeline.base.locations import Location

WAIT: Final = 60.0  # seconds that a run waits for the tasks of an earlier one
_PAUSE: Final = 0.05


def fence_path(store: Path) -> Path:
    """Return the file beside a store on a disk that is locked."""
    return store.with_name(f".{store.name}.lock")


@contextmanager
def shared(store: Location) -> Iterator[None]:
    """Lock a store together with other writers; at a URL there is no lock.

    Raises:
        FileNotFoundError: the folder of the store is gone.
    """
    with _locked(store, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive(store: Location) -> Iterator[None]:
    """Lock a store alone, while what writers rely on is changed; at a URL there is no lock.

    Raises:
        UserError: tasks of an earlier run do not stop writing.
    """
    if isinstance(store, Path):
        store.parent.mkdir(parents=True, exist_ok=True)
    with _locked(store, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(store: Location, kind: int) -> Iterator[None]:
    """Lock a store; the lock ends with its process, so that none is ever left behind."""
    if not isinstance(store, Path):
        yield
        return
    handle = os.open(fence_path(store), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(handle, kind, store)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, kind: int, store: Path) -> None:
    until = time.monotonic() + WAIT
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise UserError(
                    f"{store} is in use since {WAIT:.0f} s: workers of an earlier run are still writing. End them, or "
                    "wait until they are done, and run again."
                ) from None
            time.sleep(_PAUSE)
        else:
            return
