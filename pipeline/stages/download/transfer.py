"""The transfer of files from an archive into a folder: received beside it, verified, and only then put in place."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from pipeline.base.errors import GranuleError, UserError
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locks import owner
from pipeline.base.locks.owner import has_ended, start_time
from pipeline.base.retry import Transient
from pipeline.sources.archive import Archive, Refused, Remote

Check = Callable[[Path], object]  # raises GranuleError where a file is not what its name says

_SCRATCH: Final = ".arriving"  # folders of files that are being received
_NAME: Final = re.compile(re.escape(_SCRATCH) + r"-(?P<machine>[0-9a-f]+)-(?P<pid>\d+)-(?P<started>\d+\.\d+)-[0-9a-f]+")
_ABANDONED: Final = 86_400.0  # s without a change, after which another machine's scratch folder is swept
_BLOCK: Final = 1 << 20
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class Stopped(Exception):
    """The work was called off; what was being received is removed."""


def verify(remote: Remote, path: Path, check: Check) -> None:
    """Compare a file with the catalogue, then its content with its name.

    Raises:
        GranuleError: it is not the file that the catalogue describes.
    """
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise GranuleError(f"{remote.name}: it has {size} bytes, the catalogue says {remote.size}")
    if remote.algorithm and _digest(path, remote.algorithm) != remote.checksum:
        raise GranuleError(f"{remote.name}: its {remote.algorithm} is not the one that the catalogue gives")
    check(path)


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)  # it finds damage, not malice
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Transfer:
    """A transfer of files into a folder, by several threads at once."""

    archive: Archive
    folder: Path
    scratch: Path  # within the folder, of this run alone
    check: Check
    stop: Event  # when set, what is being received is dropped, and nothing more is asked for

    def fetch(self, remote: Remote) -> int:
        """Fetch, verify and put in place one file; it replaces one of that name.

        Returns:
            Its size in bytes.

        Raises:
            Transient: it did not arrive, or not unharmed.
            UserError: trying again is useless (see `Archive.fetch`), or the folder cannot be written.
            Stopped: `stop` is set. A refusal or a full disk sets it here, for no other file would escape it.
        """
        if self.stop.is_set():
            raise Stopped
        path = self.scratch / remote.name
        try:
            self._receive(remote, path)
            verify(remote, path, self.check)
            size = path.stat().st_size
            path.replace(self.folder / remote.name)
        except GranuleError as error:
            raise Transient(str(error)) from None
        except Refused:
            self.stop.set()
            raise
        except OSError as error:
            self.stop.set()
            raise cannot_write(self.folder, error) from error
        finally:
            path.unlink(missing_ok=True)
        return size

    def _receive(self, remote: Remote, path: Path) -> None:
        pieces = self.archive.fetch(remote)
        with closing(pieces), path.open("wb") as file:
            while True:
                if self.stop.is_set():
                    raise Stopped
                piece = next(pieces, None)
                if piece is None:
                    return
                file.write(piece)


def cannot_write(folder: Path, error: OSError) -> UserError:
    """Return the error that says what is wrong with a folder, and what to do."""
    if error.errno in _NO_ROOM:
        return UserError(
            f"{folder}: no space is left there. Make room, or give another folder with --out or ingest.granules. "
            "What was fetched stays, and running the same command again fetches the rest."
        )
    return UserError(f"{folder} cannot be written: {error.strerror}. Give another folder with --out.")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder of this run alone inside another one, and remove it at the end.

    Those of killed runs are removed first. Other runs that are at work in the same folder keep theirs.

    Raises:
        UserError: the folder cannot be written.
    """
    own = folder / _own_name()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stray in folder.glob(f"{_SCRATCH}-*"):
            if _is_abandoned(stray):
                shutil.rmtree(stray, ignore_errors=True)
        own.mkdir()
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _own_name() -> str:
    pid = os.getpid()
    return f"{_SCRATCH}-{_machine()}-{pid}-{start_time(pid)}-{secrets.token_hex(4)}"


def _is_abandoned(scratch: Path) -> bool:
    """Return whether the process that made a scratch folder has ended.

    Of processes on other machines, and in other containers even of the same host name, only the folder's age can tell;
    so too where the name is another, as earlier versions gave: .arriving-HOST-PROCESS-RANDOM.
    """
    named = _NAME.fullmatch(scratch.name)
    if named is not None and named["machine"] == _machine():
        return has_ended(named["pid"], float(named["started"]))
    try:
        return time.time() - scratch.stat().st_mtime > _ABANDONED
    except FileNotFoundError:  # its run has just ended
        return False


def _machine() -> str:
    """Return a word that is the same only for processes that see each other."""
    return fingerprint_of(owner.machine())
