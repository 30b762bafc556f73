"""Accounts of tasks: seconds, memory, bytes and pixels, counted where they run and added up by their stage."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in which ru_maxrss counts


@dataclass
class Account:
    """The account of a task, or the sum of many."""

    seconds: float = 0.0
    shards: int = 0  # tasks: shards, or strips of them
    bytes_read: int = 0  # of store objects, as they are stored
    bytes_written: int = 0
    pixels: int = 0  # cells: all of a shard where it is ingested or prepared, the mapped ones where it is labelled
    peak_memory: int = 0  # bytes resident, the most of any process of the tasks

    def add(self, other: "Account") -> None:
        """Add another account; the peak is the larger one."""
        self.seconds += other.seconds
        self.shards += other.shards
        self.bytes_read += other.bytes_read
        self.bytes_written += other.bytes_written
        self.pixels += other.pixels
        self.peak_memory = max(self.peak_memory, other.peak_memory)


_current: ContextVar[Account | None] = ContextVar("account", default=None)
_collected: ContextVar[Account | None] = ContextVar("collected", default=None)


def current() -> Account | None:
    """Return the account of the task that runs in this thread, or None outside of any."""
    return _current.get()


def count_pixels(n: int) -> None:
    """Add pixels to the running task's account."""
    account = _current.get()
    if account is not None:
        account.pixels += n


@contextmanager
def accounted() -> Iterator[Account]:
    """Yield the account of the block; seconds and memory are known at its end."""
    account = Account()
    token = _current.set(account)
    started = time.perf_counter()
    try:
        yield account
    finally:
        _current.reset(token)
        account.seconds = time.perf_counter() - started
        account.peak_memory = peak_memory()


@contextmanager
def collecting() -> Iterator[Account]:
    """Yield the sum of the accounts that are passed to `collect` inside the block."""
    account = Account()
    token = _collected.set(account)
    try:
        yield account
    finally:
        _collected.reset(token)


def collect(task: Account) -> None:
    """Add the account of a task to the sum of its stage."""
    account = _collected.get()
    if account is not None:
        account.add(task)


def peak_memory() -> int:
    """Return the largest number of bytes that this process has had resident."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024  # ru_maxrss may be that of the process before exec
    except (OSError, IndexError, ValueError):  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
