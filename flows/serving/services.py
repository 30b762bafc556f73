"""The processes of the service, each with its command and environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows.serving.process import Process
from pipeline.runtime.dask.cluster import HOST, PER_GPU
from pipeline.runtime.per_process import GPU
from pipeline.runtime.settings import TLS_KEYS

POOLS: Final = ("cpu", "gpu")
_FLOW_GRACE: Final = 5.0  # s: a Prefect worker never ends before its flow does, so its flow is soon asked to end


@dataclass(frozen=True)
class Ports:
    """Ports of the service, on 127.0.0.1 alone."""

    prefect: int = 4200
    scheduler: int = 8786
    dashboard: int = 8787


@dataclass(frozen=True)
class ServiceFolders:
    """Folders of the service: Prefect's database, logs, what Dask workers spill."""

    folder: Path
    tls: tuple[Path, Path, Path] | None = None  # of Dask: authority, certificate and key; not in the folder

    @property
    def logs(self) -> Path:
        """Folder of the logs, one file a process."""
        return self.folder / "logs"

    @property
    def prefect(self) -> Path:
        """Folder of Prefect (PREFECT_HOME), with its database."""
        return self.folder / "prefect"

    @property
    def dask(self) -> Path:
        """Folder of what Dask workers spill."""
        return self.folder / "dask"


def environment(ports: Ports, folders: ServiceFolders) -> dict[str, str]:
    """Return the environment of all processes.

    A password of Prefect's API is taken from PREFECT_SERVER_API_AUTH_STRING.
    """
    variables = {
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(folders.prefect),
        "PREFECT_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(ports.prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_METRICS_ENABLED": "true",  # at /api/metrics, for Prometheus
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # s; with SQLite's default, runs at the same time fail on its locks
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
        "SITSCUBE_CLUSTER__SCHEDULER": scheduler_address(ports, folders),
    }
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if folders.tls is not None:
        variables |= {
            f"SITSCUBE_CLUSTER__{key.upper()}": str(path) for key, path in zip(TLS_KEYS, folders.tls, strict=True)
        }
    return variables | ({"PREFECT_API_AUTH_STRING": password} if password else {})


def scheduler_address(ports: Ports, folders: ServiceFolders) -> str:
    """Return the address of the Dask scheduler, for its workers and clients."""
    return f"{'tls' if folders.tls else 'tcp'}://{HOST}:{ports.scheduler}"


def _tls_options(folders: ServiceFolders) -> tuple[str, ...]:
    """Return the options of Dask's commands that name the certificates."""
    if folders.tls is None:
        return ()
    names = ("--tls-ca-file", "--tls-cert", "--tls-key")
    return tuple(word for name, path in zip(names, folders.tls, strict=True) for word in (name, str(path)))


def server(ports: Ports, folders: ServiceFolders) -> Process:
    """Return Prefect's server, with a database in the folder."""
    return Process("prefect-server", "prefect", ("server", "start"), environment(ports, folders), folders.logs)


def commands(ports: Ports, folders: ServiceFolders, prefect_file: Path) -> list[Process]:
    """Return the commands to run once the server answers, in this order: work pools, then deployments."""
    variables = environment(ports, folders)
    create = [
        Process(
            f"pool-{pool}",
            "prefect",
            ("work-pool", "create", pool, "--type", "process", "--overwrite"),
            variables,
            folders.logs,
        )
        for pool in POOLS
    ]
    deploy = ("--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file))
    return [*create, Process("deploy", "prefect", deploy, variables, folders.logs)]


def cluster(ports: Ports, folders: ServiceFolders, workers: int, gpus: int) -> list[Process]:
    """Return Dask's scheduler, then its workers: each of one thread, and started again by its nanny when it dies."""
    variables, address = environment(ports, folders), scheduler_address(ports, folders)
    dashboard, tls = f"{HOST}:{ports.dashboard}", _tls_options(folders)
    protocol = ("--protocol", "tls") if tls else ()
    processes = [
        Process(
            "dask-scheduler", "dask",
            ("scheduler", "--host", HOST, "--port", str(ports.scheduler), "--dashboard-address", dashboard,
             *protocol, *tls),
            variables, folders.logs,
        )
    ]  # fmt: skip
    common: tuple[str, ...] = ("worker", address, "--host", HOST, "--nthreads", "1")
    common = (*common, "--local-directory", str(folders.dask), "--dashboard-address", f"{HOST}:0", *tls)
    if workers:
        processes.append(
            Process("dask-workers", "dask", (*common, "--nworkers", str(workers)), variables, folders.logs)
        )
    for number in range(gpus):
        options = ("--nworkers", "1", "--resources", f"{GPU}={PER_GPU}")
        gpu = {"CUDA_VISIBLE_DEVICES": str(number)}
        processes.append(Process(f"dask-gpu-{number}", "dask", (*common, *options), variables | gpu, folders.logs))
    return processes


def flow_workers(ports: Ports, folders: ServiceFolders) -> list[Process]:
    """Return a Prefect worker for each pool, with one flow at a time."""
    variables = environment(ports, folders)
    command = ("worker", "start", "--type", "process", "--limit", "1", "--pool")
    return [
        Process(f"prefect-worker-{pool}", "prefect", (*command, pool), variables, folders.logs, grace=_FLOW_GRACE)
        for pool in POOLS
    ]
