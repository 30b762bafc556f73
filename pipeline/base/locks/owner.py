"""The owner of a lock: a process, its machine, since when it runs, and what it does."""

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import psutil


class Description(TypedDict):
    """What a lock records of its owner."""

    what: str
    pid: int
    started: float | None
    host: str
    machine: str
    since: str


@dataclass(frozen=True)
class Owner:
    """What was read from a lock about its owner; empty where it cannot be read."""

    facts: Mapping[str, object]  # as in `Description`, but nothing in it is certain

    @classmethod
    def read(cls, content: bytes) -> "Owner":
        """Read what is written in a lock: it may be half-written or empty."""
        try:
            facts = json.loads(content)
        except ValueError:
            return cls({})
        return cls(facts if isinstance(facts, dict) else {})

    def __str__(self) -> str:
        if not self.facts:
            return "another run"
        known = {name: self.facts.get(name, "?") for name in ("what", "pid", "host", "since")}
        return "{what} (process {pid} on {host}, since {since})".format(**known)

    def is_gone(self) -> bool:
        """Return whether it was a process of this machine that has ended; of other machines' none is known to have."""
        if self.facts.get("machine") != machine():
            return False
        return has_ended(self.facts.get("pid"), self.facts.get("started"))


def describe(what: str) -> Description:
    """Return the description of this process."""
    return {
        "what": what,
        "pid": os.getpid(),
        "started": start_time(os.getpid()),
        "host": socket.gethostname(),
        "machine": machine(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def has_ended(pid: object, started: object) -> bool:
    """Return whether a process of this machine has ended that began at `started`; its number may be another's."""
    return started != start_time(pid)


def start_time(pid: object) -> float | None:
    """Return when a process began, to tell it from a later one of the same number; None where there is none."""
    try:
        return float(psutil.Process(int(str(pid))).create_time())
    except (psutil.NoSuchProcess, ValueError):
        return None


def machine() -> str:
    """Return the identity of this machine: the same only for processes that see each other.

    The host's name is not enough: containers may share it. On Linux the boot and the namespace of process numbers are
    added.
    """
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # not Linux: the name must do
        pass
    return " ".join(parts)
