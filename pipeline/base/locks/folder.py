"""One run at a time on a folder of outputs: a second one is refused, or waits."""

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final, Protocol

from pipeline.base.errors import InUse, UserError
from pipeline.base.locations import Location, check_reachable
from pipeline.base.locks.lease import Lease
from pipeline.base.locks.owner import Owner, describe

NAME: Final = ".lock"
_PAUSE: Final = 0.2  # seconds between two looks at a lock that is waited for
_PAUSE_AT_URL: Final = 2.0
_log = logging.getLogger(__name__)


class Hold(Protocol):
    """A folder that is held."""

    def check(self) -> None:
        """Raise UserError where it is no longer held."""

    def release(self) -> None:
        """Let others have it."""


_held: ContextVar[dict[str, Hold] | None] = ContextVar("held_folders", default=None)


@contextmanager
def hold(folder: Location, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder for this run alone; within the block the same code may hold it again.

    On a disk the lock goes with its process, however that ends. At a URL it is a lease, an object that is renewed while
    the block lasts; one that was not renewed for long, or whose process on this machine is gone, is taken over. The
    clocks of machines that share a URL must agree within a minute.

    Args:
        folder: made where it is not there.
        what: is done in it, told to those who are refused, such as "sitscube run".
        wait: until another run has ended, instead of being refused.

    Raises:
        InUse: another run holds the folder, in this process or another.
        UserError: the folder cannot be written.
    """
    held = _held.get() or {}
    if str(folder) in held:
        yield
        return
    check_reachable(folder)
    mine = _take(folder, what, wait)
    token = _held.set({**held, str(folder): mine})
    try:
        yield
    finally:
        _held.reset(token)
        mine.release()


def check() -> None:
    """Say whether the running code still holds what it took hold of: a machine that slept may have lost it.

    Raises:
        UserError: another run has taken it over.
    """
    for one in (_held.get() or {}).values():
        one.check()


def _take(folder: Location, what: str, wait: bool) -> Hold:
    told = False
    while True:
        taken = _Locked.take(folder, what) if isinstance(folder, Path) else Lease.take(folder / NAME, what)
        if not isinstance(taken, Owner):
            return taken
        if not wait:
            raise InUse(str(folder), str(taken))
        if not told:
            _log.warning("%s is in use by %s: waiting until it has ended", folder, taken)
            told = True
        time.sleep(_PAUSE if isinstance(folder, Path) else _PAUSE_AT_URL)


class _Locked:
    """A folder on a disk, held by a lock on a file in it."""

    def __init__(self, path: Path, handle: int, made: list[Path]) -> None:
        self._path, self._handle, self._made = path, handle, made

    @classmethod
    def take(cls, folder: Path, what: str) -> "_Locked | Owner":
        """Lock the folder, or say who holds it.

        Raises:
            UserError: the folder cannot be written.
        """
        path = folder / NAME
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        try:
            while True:
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                except FileNotFoundError:
                    continue  # who had made the folder has removed it just now
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if _is_at(path, handle):
                        break
                except BlockingIOError:
                    holder = Owner.read(os.pread(handle, 4096, 0))
                    os.close(handle)
                    return holder
                except OSError:
                    os.close(handle)
                    raise
                os.close(handle)  # its holder has removed it just now
            try:
                os.ftruncate(handle, 0)
                os.pwrite(handle, (json.dumps(describe(what)) + "\n").encode(), 0)
            except OSError:
                os.close(handle)
                raise
        except OSError as error:
            raise UserError(
                f"cannot write into {folder}: {error.strerror or error}. Free space or choose another --out."
            ) from error
        return cls(path, handle, made)

    def check(self) -> None:
        """A lock on a disk is never lost; that the run goes on is shown by the time of its file."""
        with suppress(OSError):  # for those who look on: the run itself does not depend on it
            os.utime(self._handle)

    def release(self) -> None:
        """Remove the file, then let it go: who has opened it meanwhile sees that it is gone, and makes another.

        Folders that were made for it go, too, where nothing has been put into them.
        """
        self._path.unlink(missing_ok=True)
        os.close(self._handle)
        with suppress(OSError):  # not empty, or gone
            for folder in self._made:
                folder.rmdir()


def _is_at(path: Path, handle: int) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(handle)
    return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)
