"""A lock at a URL: an object that its owner renews, for object stores know no locks that end with a process."""

import json
import logging
import threading
import time
import uuid
from typing import Final

from upath import UPath

from pipeline.base.errors import UserError
from pipeline.base.files import read_bytes, remove_file, write_bytes
from pipeline.base.locks.owner import Description, Owner, describe

RENEWED_EVERY: Final = 20.0  # seconds
STALE_AFTER: Final = 90.0  # seconds without renewal after which another run may take over
SETTLED_AFTER: Final = 2.0  # seconds in which another run that takes over at the same time has written too
_log = logging.getLogger(__name__)


class Claim(Description):
    """What a lease records, beside the time of its renewal."""

    token: str  # of this lease alone


class Lease:
    """An object that says who has locked a folder, renewed by a thread of its own."""

    def __init__(self, path: UPath, facts: Claim) -> None:
        self._path, self._facts = path, facts
        self._renewed = time.time()
        self._lost = False
        self._turn = threading.Lock()  # one renewal at a time
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, path: UPath, what: str) -> "Lease | Owner":
        """Take the lease, or return who has it."""
        facts: Claim = {**describe(what), "token": uuid.uuid4().hex}
        if _create(path, facts):
            return cls(path, facts)
        there = _read(path)
        if there is not None and not may_be_taken(there):
            return there
        _write(path, facts)
        time.sleep(SETTLED_AFTER)
        there = _read(path)
        if there is not None and there.facts.get("token") == facts["token"]:
            return cls(path, facts)
        return there or Owner({})

    def check(self) -> None:
        """Raise UserError where another run has taken over."""
        if not self._lost and time.time() - self._renewed > STALE_AFTER:
            self._renew()
        if self._lost or time.time() - self._renewed > STALE_AFTER:
            raise UserError(
                f"{self._path.parent} is no longer held by this run: its lease was not renewed for "
                f"{STALE_AFTER:.0f} s, as when a machine sleeps, and another run may work there. What is done is kept: "
                "run again, it goes on where it stopped."
            )

    def release(self) -> None:
        """Stop renewing, and remove the lease if it is still ours."""
        self._ended.set()
        self._thread.join()
        try:
            there = _read(self._path)
            if there is not None and there.facts.get("token") == self._facts["token"]:
                remove_file(self._path)
        except Exception:  # noqa: BLE001 - must not hide an error of the work itself; the lease is stale soon
            _log.warning("cannot remove %s", self._path, exc_info=True)

    def _keep(self) -> None:
        while not self._ended.wait(RENEWED_EVERY) and not self._lost:
            self._renew()

    def _renew(self) -> None:
        with self._turn:
            try:
                there = _read(self._path)
                if there is None or there.facts.get("token") != self._facts["token"]:
                    self._lost = True
                    return
                started = time.time()
                _write(self._path, self._facts)
            except Exception:  # noqa: BLE001 - of any filesystem: the next turn tries again, `check` raises if none succeeds
                return
            self._renewed = started


def _create(path: UPath, facts: Claim) -> bool:
    """Write a lease where there is none; of several writers at once only one succeeds, where the store can tell."""
    content = _dump(facts)
    try:
        path.fs.pipe_file(path.path, content, mode="create")
    except FileExistsError:
        return False
    except (TypeError, NotImplementedError, ValueError):  # a filesystem that cannot
        if _read(path) is not None:
            return False
        write_bytes(path, content)
        time.sleep(SETTLED_AFTER)
    there = _read(path)
    return there is not None and there.facts.get("token") == facts["token"]


def may_be_taken(holder: Owner) -> bool:
    """Return whether a lease was not renewed for long, or its process on this machine is gone."""
    renewed = holder.facts.get("renewed")
    stale = not isinstance(renewed, int | float) or time.time() - renewed > STALE_AFTER
    return stale or holder.is_gone()


def _read(path: UPath) -> Owner | None:
    try:
        return Owner.read(read_bytes(path))
    except FileNotFoundError:
        return None


def _write(path: UPath, facts: Claim) -> None:
    write_bytes(path, _dump(facts))


def _dump(facts: Claim) -> bytes:
    return (json.dumps({**facts, "renewed": time.time()}) + "\n").encode()
