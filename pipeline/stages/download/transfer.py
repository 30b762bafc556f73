"""A file's way from an archive into a folder: received beside it, verified, and only then put in place."""

import errno
import hashlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final

from pipeline.base.errors import GranuleError, UserError
from pipeline.base.retry import Transient
from pipeline.sources.archive import Archive, Refused, Remote

Check = Callable[[Path], object]  # raises GranuleError where a file is not what its name says

_SCRATCH: Final = ".arriving"  # ...-HOST-PROCESS-RANDOM: folders of files on their way
_ABANDONED: Final = 86_400.0  # s without a change, after which another machine's scratch folder is swept
_BLOCK: Final = 1 << 20
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class Stopped(Exception):
    """The work was called off; what was on its way is gone."""


def verify(remote: Remote, path: Path, check: Check) -> None:
    """Hold a file against the catalogue, then its content against its name.

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
    """Brings files into a folder; for several threads at once."""

    archive: Archive
    folder: Path
    scratch: Path  # within the folder, this run's own
    check: Check
    stop: Event  # set: whatever is on its way is dropped, and nothing more is asked for

    def fetch(self, remote: Remote) -> int:
        """Fetch, verify and put in place one file; a file of that name gives way to it.

        Returns:
            Its size in bytes.

        Raises:
            Transient: it did not arrive, or not unharmed.
            UserError: trying again is useless, as `Archive.fetch` tells, or the folder cannot be written.
            Stopped: `stop` is set; what no other file would escape, a refusal or a full disk, sets it here.
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
    """What is wrong with the folder, and what to do."""
    if error.errno in _NO_ROOM:
        return UserError(
            f"{folder}: no space is left there. Make room, or give another folder with --out or ingest.granules. "
            "What was fetched stays, and running the same command again fetches the rest."
        )
    return UserError(f"{folder} cannot be written: {error.strerror}. Give another folder with --out.")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A folder of this run's own inside another one, gone at the end; what killed runs left there is swept first.

    Other runs that are under way in the same folder keep theirs.

    Raises:
        UserError: the folder cannot be written.
    """
    own = folder / f"{_SCRATCH}-{_host()}-{os.getpid()}-{secrets.token_hex(4)}"
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


def _is_abandoned(scratch: Path) -> bool:
    """Whether the process that made a scratch folder is gone; of other machines' only the folder's age can tell."""
    host, process = scratch.name.removeprefix(f"{_SCRATCH}-").rsplit("-", 2)[:2]
    if host == _host() and process.isdigit():
        return not _is_alive(int(process))
    try:
        return time.time() - scratch.stat().st_mtime > _ABANDONED
    except FileNotFoundError:  # its run has just ended
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 is not sent: it only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _host() -> str:
    return "".join(character for character in socket.gethostname() if character.isalnum()) or "host"
