"""A Dask cluster of real processes on 127.0.0.1 that can be killed one by one, and the command line beside it.

Every process leads a group of its own, so that a SIGKILL takes what it has started with it, and writes to a log file.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from distributed import Client

PATIENCE = 90.0  # s within which a new process answers, on a busy machine
_ENVIRONMENT = {"OMP_NUM_THREADS": "1"}


def wait_until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for a condition that no other process announces.

    Raises:
        TimeoutError: it did not come true in time.
    """
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """A process in a group of its own, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command, self.log = list(command), log
        with log.open("ab") as stream:
            self._popen = subprocess.Popen(
                self.command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            )

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    @property
    def output(self) -> str:
        """All that it and its predecessors of the same log have printed."""
        return self.log.read_text(errors="replace")

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for its end; return the exit status, negative for a signal.

        Raises:
            TimeoutError: it has not ended; it is killed then, and its output is in the message.
        """
        try:
            return self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.command} went on for {patience:.0f} s:\n{self.output[-4000:]}") from None

    def kill(self) -> None:
        """Send SIGKILL to the whole group, also to the rest of it when the leader has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


@dataclass
class Cluster:
    """A scheduler and workers, each a process; none is left when the block ends.

    Attributes:
        folder: for logs and the workers' files.
        n_workers: that are started at once.
        preload: a module that every worker runs first.
        environment: of all of its processes.
    """

    folder: Path
    n_workers: int = 2
    preload: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    scheduler: Process | None = None
    workers: dict[str, Process] = field(default_factory=dict)
    commands: list[Process] = field(default_factory=list)
    _options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Address for clients."""
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> "Cluster":
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.start_scheduler()
            for number in range(self.n_workers):
                self.start_worker(f"worker-{number}")
            self.wait_for_workers(self.n_workers)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything, clients first."""
        for process in (*self.commands, *self.workers.values(), *([self.scheduler] if self.scheduler else [])):
            process.kill()

    def start_scheduler(self) -> None:
        """Start the scheduler, always at the same address."""
        self.scheduler = Process(
            [
                *_dask("scheduler", "--host", "127.0.0.1", "--port", str(self.port)),
                *("--dashboard-address", "127.0.0.1:0"),
            ],
            self.folder / "scheduler.log",
            self.environment,
        )
        wait_until(self._answers, "the scheduler to listen")

    def kill_scheduler(self) -> None:
        """Send SIGKILL to the scheduler; its workers notice and end by themselves."""
        assert self.scheduler is not None
        self.scheduler.kill()

    def start_worker(self, name: str, *options: str, environment: dict[str, str] | None = None) -> None:
        """Start a worker with one thread; it need not have joined yet when this returns."""
        preload = ("--preload", str(self.preload)) if self.preload else ()
        if options or name not in self._options:
            self._options[name] = options
        self.workers[name] = Process(
            [
                *_dask(
                    "worker", self.address, "--host", "127.0.0.1", "--nthreads", "1", "--nworkers", "1", "--no-nanny"
                ),
                *("--no-dashboard", "--local-directory", str(self.folder), "--name", name, *preload),
                *self._options[name],
            ],
            self.folder / f"{name}.log",
            {**self.environment, **(environment or {})},
        )

    def kill_worker(self, name: str) -> None:
        """Send SIGKILL to a worker."""
        self.workers[name].kill()

    def revive(self) -> int:
        """Start all processes again that have died, as a supervisor of services would; return their number."""
        dead = [name for name, process in self.workers.items() if not process.alive]
        if self.scheduler is None or not self.scheduler.alive:
            self.start_scheduler()
            dead.append("scheduler")
        for name in dead:
            if name != "scheduler":
                self.start_worker(name)
        return len(dead)

    def wait_for_workers(self, n: int) -> None:
        """Wait until n workers have joined."""
        with Client(self.address, timeout=PATIENCE, set_as_default=False) as client:
            client.wait_for_workers(n, timeout=PATIENCE)

    def run_command(self, *arguments: str, environment: dict[str, str] | None = None) -> Process:
        """Start `sitscube ARGUMENTS` as a process."""
        log = self.folder / f"command-{len(self.commands)}.log"
        started = run_command(log, *arguments, environment={**self.environment, **(environment or {})})
        self.commands.append(started)
        return started

    def end_commands(self) -> None:
        """Kill the commands that are still running."""
        for process in self.commands:
            process.kill()

    def wait_for_tasks(self, n: int) -> None:
        """Wait until the scheduler has given at least n tasks to workers, or for n = 0, until it has none."""
        with Client(self.address, timeout=PATIENCE, set_as_default=False) as client:

            def there() -> bool:
                found = sum(map(len, client.processing().values()))
                return found >= n if n else found == 0

            wait_until(there, f"{n} tasks")

    def wait_for_idle_workers(self) -> None:
        """Wait until no worker works, not even on tasks that nobody waits for."""
        with Client(self.address, timeout=PATIENCE, set_as_default=False) as client:

            def idle() -> bool:
                return not any(client.run(lambda dask_worker: dask_worker.state.executing_count).values())

            wait_until(idle, "the workers to be idle")

    def _answers(self) -> bool:
        if self.scheduler is not None and not self.scheduler.alive:
            raise RuntimeError(f"the scheduler ended:\n{self.scheduler.output[-4000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def run_command(log: Path, *arguments: str, environment: dict[str, str] | None = None) -> Process:
    """Start `sitscube ARGUMENTS` as a process, without a cluster."""
    return Process([sys.executable, "-m", "pipeline", *arguments], log, environment)


def _dask(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "dask", *arguments]
