"""`sitscube serve`: start every process in order, keep them going, and stop them in the opposite order."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import requests

from flows.serving import orphans, services
from flows.serving.process import Process
from flows.serving.services import Ports, ServiceFolders
from flows.serving.stale_runs import mark_crashed
from pipeline.base import locks
from pipeline.base.errors import InUse, UserError
from pipeline.base.progress import Reporter
from pipeline.config.config import load_config
from pipeline.runtime.dask.cluster import HOST, gpus, security

START: Final = 120.0  # s until a process must answer
WATCH: Final = 1.0  # s between two looks at the processes
MOST_STARTS: Final = 10  # of one process; one that dies again and again is no use


def serve(folder: Path, prefect_file: Path, workers: int, ports: Ports, reporter: Reporter) -> None:
    """Serve scheduled runs on this machine until Ctrl-C or SIGTERM; no process is left behind.

    Starts the Prefect server (SQLite), the work pools cpu and gpu with a worker each, a Dask scheduler with CPU workers
    and a worker for every GPU, and deploys the flows. A process that dies is started again.

    Args:
        folder: for the database, logs, and what Dask workers spill; one service a folder.
        prefect_file: file of the deployments.
        workers: number of Dask workers without a GPU, of one thread each.
        ports: to listen on, on 127.0.0.1.
        reporter: of what is started, where, and what has died.

    Raises:
        UserError: the certificates in the environment cannot be used, another service uses the folder, a port is
            taken, there are no deployments, or a process does not start, or dies again and again.
    """
    settings = load_config().cluster  # from the environment: SITSCUBE_CLUSTER__TLS_CERT and the others
    security(settings)
    folders = ServiceFolders(folder.absolute(), settings.tls)
    if not prefect_file.is_file():
        raise UserError(
            f"there are no deployments: {prefect_file} is missing. Run this from the repository's root, or name the "
            "file with --prefect-file."
        )
    with _alone(folders.folder), _asked_to_end() as asked:
        for port, option in ((ports.prefect, "--port"), (ports.scheduler, "--scheduler-port"),
                             (ports.dashboard, "--dashboard-port")):  # fmt: skip
            _check_free(port, option)
        for one in (folders.logs, folders.prefect, folders.dask):
            one.mkdir(parents=True, exist_ok=True)
        orphans.adopt()
        running: list[Process] = []
        try:
            _start(running, folders, prefect_file, workers, ports, reporter, asked)
            _say_where(ports, folders, reporter)
            _keep_going(running, reporter, asked)
        finally:
            reporter.message("stopping: flows first, then Dask, then the Prefect server")
            orphans.end(process.pid for process in running)
            for process in reversed(running):
                process.stop()


def _start(
    running: list[Process],
    folders: ServiceFolders,
    prefect_file: Path,
    workers: int,
    ports: Ports,
    reporter: Reporter,
    asked: threading.Event,
) -> None:
    """Start all processes in order, and put into `running` those that have to be stopped."""

    def begin(process: Process) -> None:
        if not asked.is_set():
            running.append(process)
            process.start()

    n_gpus = gpus()
    commands = services.commands(ports, folders, prefect_file)
    with reporter.track("start", 3 + len(commands)) as task:
        server = services.server(ports, folders)
        begin(server)
        api = f"http://{HOST}:{ports.prefect}/api"
        _wait_for(server, lambda: _answers(f"{api}/health"), asked)
        if not asked.is_set() and (n_crashed := mark_crashed(api)):
            reporter.message(
                f"{n_crashed} runs were at work when the last service ended: start them again on their pages"
            )
        task.advance(note=server.name)
        scheduler, *dask_workers = services.cluster(ports, folders, workers, n_gpus)
        begin(scheduler)
        _wait_for(scheduler, lambda: _answers(f"http://{HOST}:{ports.dashboard}/health"), asked)
        for process in dask_workers:
            begin(process)
        task.advance(note="Dask")
        for command in commands:
            if not asked.is_set() and command.run(START) != 0:
                raise UserError(f"{command.name} failed, see {command.log}:\n{command.last_lines()}")
            task.advance(note=command.name)
        for process in services.flow_workers(ports, folders):
            begin(process)
        task.advance(note="Prefect workers")
    reporter.message(f"{workers} Dask workers without a GPU, {n_gpus} with one")


def _say_where(ports: Ports, folders: ServiceFolders, reporter: Reporter) -> None:
    reporter.message(f"Prefect:        http://{HOST}:{ports.prefect}")
    reporter.message(f"Dask dashboard: http://{HOST}:{ports.dashboard}/status")
    reporter.message(f"Dask scheduler: {services.scheduler_address(ports, folders)}")
    reporter.message(f"logs:           {folders.logs}")
    reporter.message(
        "Ctrl-C stops everything; runs that are at work go on where they were when they are started again."
    )


def _keep_going(running: list[Process], reporter: Reporter, asked: threading.Event) -> None:
    """Start processes again that die, until asked to end.

    Raises:
        UserError: a process has died too often.
    """
    while not asked.wait(WATCH):
        orphans.reap(process.pid for process in running)
        for process in running:
            if process.alive:
                continue
            if process.starts >= MOST_STARTS:
                raise UserError(
                    f"{process.name} has died {process.starts} times, see {process.log}:\n{process.last_lines()}"
                )
            reporter.message(f"{process.name} has ended (status {process.status}) and is started again")
            process.start()


def _wait_for(process: Process, ready: Callable[[], bool], asked: threading.Event) -> None:
    """Wait until a process answers.

    Raises:
        UserError: it has ended, or does not answer in time.
    """
    until = time.monotonic() + START
    while not asked.is_set() and not ready():
        if not process.alive or time.monotonic() > until:
            raise UserError(f"{process.name} does not start, see {process.log}:\n{process.last_lines()}")
        asked.wait(0.2)


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False


def _check_free(port: int, option: str) -> None:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(
                f"port {port} of {HOST} is taken by another program: end it, or choose another with {option}."
            ) from None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with locks.hold(folder, "sitscube serve"):
            yield
    except InUse as error:
        if error.folder != str(folder):
            raise
        raise UserError(
            f"a service is running already in {folder}: {error.holder}. Use that one, or end it; another --folder, "
            "with other ports, can be served at the same time."
        ) from None


@contextmanager
def _asked_to_end() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, SIGTERM and a closed terminal set, so that they interrupt nothing."""
    asked = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in signals}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
