"""One run at a time on a folder of outputs: a second one is refused, or waits.

On a disk the lock is filelock's, that is flock(2) on a file in the folder: the system releases it when its process
ends, however that happens. A disk that knows no flock is refused. On NFS version 4, flock also holds between machines;
on older versions it may hold on each machine alone, so that two machines must not work on one folder. filelock would
also lock on Windows, but `locks.store` needs POSIX, and the pipeline with it.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final, Protocol

from filelock import FileLock, Timeout

from pipeline.base.errors import InUse, UserError
from pipeline.base.locations import Location, check_reachable
from pipeline.base.locks.lease import Lease
from pipeline.base.locks.owner import Owner, describe

NAME: Final = ".lock"
_PAUSE: Final = 0.2  # seconds between two attempts to take a lock that is waited for
_PAUSE_AT_URL: Final = 2.0
_log = logging.getLogger(__name__)


class Lock(Protocol):
    """The lock of a folder."""

    def check(self) -> None:
        """Raise UserError where another run has taken it over."""

    def release(self) -> None:
        """Let others take it."""


_locks: ContextVar[dict[str, Lock] | None] = ContextVar("locks_of_folders", default=None)


@contextmanager
def hold(folder: Location, what: str, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder for this run alone; within the block the same code may lock it again.

    On a disk the lock ends with its process. At a URL it is a lease, an object that is renewed while the block lasts;
    one that was not renewed for long, or whose process on this machine is gone, is taken over. The clocks of machines
    that share a URL must agree within a minute.

    Args:
        folder: made where it does not exist.
        what: is done in it, shown to those who are refused, such as "sitscube run".
        wait: until another run has ended, instead of being refused.

    Raises:
        InUse: another run has the lock, in this process or another.
        UserError: the folder cannot be written.
    """
    locks = _locks.get() or {}
    if str(folder) in locks:
        yield
        return
    check_reachable(folder)
    own = _take(folder, what, wait)
    token = _locks.set({**locks, str(folder): own})
    try:
        yield
    finally:
        _locks.reset(token)
        own.release()


def check() -> None:
    """Check that the running code still has its locks: a machine that slept may have lost them.

    Raises:
        UserError: another run has taken one over.
    """
    for lock in (_locks.get() or {}).values():
        lock.check()


def _take(folder: Location, what: str, wait: bool) -> Lock:
    logged = False
    while True:
        taken = DiskLock.take(folder, what) if isinstance(folder, Path) else Lease.take(folder / NAME, what)
        if not isinstance(taken, Owner):
            return taken
        if not wait:
            raise InUse(str(folder), str(taken))
        if not logged:
            _log.warning("%s is in use by %s: waiting until it has ended", folder, taken)
            logged = True
        time.sleep(_PAUSE if isinstance(folder, Path) else _PAUSE_AT_URL)


class DiskLock:
    """The lock of a folder on a disk: a locked file in it, which says who its owner is."""

    def __init__(self, path: Path, lock: FileLock, made: list[Path]) -> None:
        self._path, self._lock, self._made = path, lock, made

    @classmethod
    def take(cls, folder: Path, what: str) -> "DiskLock | Owner":
        """Lock the folder, or return who has locked it.

        Raises:
            UserError: the folder cannot be written.
        """
        path = folder / NAME
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        owner = (json.dumps(describe(what)) + "\n").encode()

        def write_owner(handle: int) -> None:
            os.ftruncate(handle, 0)  # a killed process left its own
            os.pwrite(handle, owner, 0)

        lock = FileLock(path, thread_local=False, fallback_to_soft=False, on_acquired=write_owner)
        try:
            while True:
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    lock.acquire(blocking=False)
                    return cls(path, lock, made)
                except Timeout:
                    with suppress(FileNotFoundError):  # its owner has removed it in this moment
                        return Owner.read(path.read_bytes())
                except FileNotFoundError:
                    continue  # who had made the folder has removed it in this moment
        except OSError as error:
            raise UserError(
                f"cannot write into {folder}: {error.strerror or error}. Free space or choose another --out."
            ) from error

    def check(self) -> None:
        """Set the file's time, which shows that the run goes on; a lock on a disk is never lost."""
        with suppress(OSError):  # for those who look on: the run itself does not depend on it
            os.utime(self._path)

    def release(self) -> None:
        """Remove the file and unlock it; folders that were made for it go too, where they are empty.

        filelock leaves the file in place. To remove it while it is locked is safe: who has opened it before finds that
        it has no name any more, and tries again.
        """
        self._path.unlink(missing_ok=True)
        self._lock.release()
        with suppress(OSError):  # not empty, or gone
            for folder in self._made:
                folder.rmdir()
