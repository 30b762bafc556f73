"""Who holds a lock: a process, its machine, since when, and what it does."""

import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Owner:
    """What a lock says of its holder; empty where it cannot be read."""

    facts: dict[str, Any]

    @classmethod
    def read(cls, content: bytes) -> "Owner":
        """From what is written in a lock: it may be half-written or empty."""
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
        """Whether it was a process of this very machine that does not run any more; of other machines none is known."""
        if self.facts.get("machine") != _machine():
            return False
        return self.facts.get("started") != _started(self.facts.get("pid"))


def describe(what: str) -> dict[str, Any]:
    """This process as a holder, JSON-able."""
    return {
        "what": what,
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "host": socket.gethostname(),
        "machine": _machine(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _started(pid: Any) -> float | None:
    """When a process began, to tell it from a later one of the same number; None where there is none."""
    try:
        return float(psutil.Process(int(pid)).create_time())
    except (psutil.NoSuchProcess, TypeError, ValueError):
        return None


def _machine() -> str:
    """The same only for processes that see each other: containers may share a host's name."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # no Linux: the name must do
        pass
    return " ".join(parts)
