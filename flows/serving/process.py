"""One process that `sitscube serve` keeps going."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

PATIENCE: Final = 30.0  # s; what has not ended then is killed
_PR_SET_PDEATHSIG: Final = 1  # of Linux's prctl


def _end_with_parent() -> None:
    """Have Linux end this process when its parent is killed; on other systems it goes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Process:
    """A process in a session of its own: Ctrl-C does not reach it, so that `serve` decides the order of the end.

    Attributes:
        name: of the process, and of its log file.
        module: Python module to run.
        arguments: of the module; never a secret, as every user of the machine can read them.
        environment: variables added to those of this process.
        logs: folder of the log file, which the first start empties.
        grace: seconds in which it may end by itself.
    """

    name: str
    module: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    logs: Path
    grace: float = 15.0
    starts: int = 0
    _popen: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def log(self) -> Path:
        """Path of the file with its output."""
        return self.logs / f"{self.name}.log"

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def pid(self) -> int | None:
        """Number of the process; None before its start."""
        return None if self._popen is None else self._popen.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it is running."""
        return None if self._popen is None else self._popen.poll()

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab" if self.starts else "wb") as stream:
            self._popen = subprocess.Popen(  # noqa: S603 - the command is of this package
                [sys.executable, "-m", self.module, *self.arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **self.environment},
                preexec_fn=_end_with_parent,
            )
        self.starts += 1

    def run(self, patience: float) -> int | None:
        """Start it, wait for its end and return the exit status; None where it took too long and was stopped."""
        self.start()
        try:
            return self._popen.wait(patience) if self._popen else None
        except subprocess.TimeoutExpired:
            self.stop()
            return None

    def last_lines(self, n: int = 15) -> str:
        """Return the last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-n:])

    def stop(self) -> None:
        """End it and all that it has started: first itself, then the children that it waits for, at last by force."""
        family = self._family()
        children = [one for one in family[1:] if _parent(one) == self.pid]
        for processes, number, patience in (
            (family[:1], signal.SIGTERM, self.grace),
            # a second signal to a Prefect worker would make it kill its flow before the flow has cleaned up
            (children, signal.SIGTERM, PATIENCE),
            (family, signal.SIGKILL, PATIENCE),
        ):
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
            if not psutil.wait_procs(family, patience)[1]:
                break
        if self._popen is not None:
            self._popen.wait()

    def _family(self) -> list[psutil.Process]:
        """Return the process and all below it, itself first."""
        if self._popen is None:
            return []
        try:
            leader = psutil.Process(self._popen.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None
