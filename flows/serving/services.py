"""The parts of the service and how each is started."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flows.serving.process import Process
from pipeline.runtime.dask.cluster import HOST, PER_GPU
from pipeline.runtime.per_process import GPU
from pipeline.runtime.settings import TLS_KEYS

POOLS: Final = ("cpu", "gpu")
_FLOW_GRACE: Final = 5.0  # s: a Prefect worker never ends before its flow does, which is then asked to end


@dataclass(frozen=True)
class Ports:
    """Where the service listens, on 127.0.0.1 alone."""

    prefect: int = 4200
    scheduler: int = 8786
    dashboard: int = 8787


@dataclass(frozen=True)
class ServiceFolders:
    """Where the service keeps its files: Prefect's database, logs, what Dask workers spill."""

    folder: Path
    tls: tuple[Path, Path, Path] | None = None  # of Dask: authority, certificate and key, which lie where they are

    @property
    def logs(self) -> Path:
        """One file a part."""
        return self.folder / "logs"

    @property
    def prefect(self) -> Path:
        """PREFECT_HOME, with the database."""
        return self.folder / "prefect"

    @property
    def dask(self) -> Path:
        """What Dask workers put aside."""
        return self.folder / "dask"


def environment(ports: Ports, layout: ServiceFolders) -> dict[str, str]:
    """What all parts are told. A Prefect API that asks for a password has it from PREFECT_SERVER_API_AUTH_STRING."""
    told = {
        "OMP_NUM_THREADS": "1",
        "PREFECT_HOME": str(layout.prefect),
        "PREFECT_API_URL": f"http://{HOST}:{ports.prefect}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(ports.prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_METRICS_ENABLED": "true",  # at /api/metrics, for Prometheus
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # with SQLite's own, runs at the same time meet locks
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
        "SITSCUBE_CLUSTER__SCHEDULER": scheduler_address(ports, layout),
    }
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if layout.tls is not None:
        told |= {f"SITSCUBE_CLUSTER__{key.upper()}": str(path) for key, path in zip(TLS_KEYS, layout.tls, strict=True)}
    return told | ({"PREFECT_API_AUTH_STRING": password} if password else {})


def scheduler_address(ports: Ports, layout: ServiceFolders) -> str:
    """What Dask's workers and clients connect to."""
    return f"{'tls' if layout.tls else 'tcp'}://{HOST}:{ports.scheduler}"


def _tls_options(layout: ServiceFolders) -> tuple[str, ...]:
    """The files of certificates, for Dask's commands."""
    if layout.tls is None:
        return ()
    names = ("--tls-ca-file", "--tls-cert", "--tls-key")
    return tuple(part for name, path in zip(names, layout.tls, strict=True) for part in (name, str(path)))


def server(ports: Ports, layout: ServiceFolders) -> Process:
    """Prefect's server, with a database in the folder."""
    return Process("prefect-server", "prefect", ("server", "start"), environment(ports, layout), layout.logs)


def commands(ports: Ports, layout: ServiceFolders, prefect_file: Path) -> list[Process]:
    """What is done once the server answers, in this order: work pools, then deployments."""
    told = environment(ports, layout)
    create = [
        Process(
            f"pool-{pool}",
            "prefect",
            ("work-pool", "create", pool, "--type", "process", "--overwrite"),
            told,
            layout.logs,
        )
        for pool in POOLS
    ]
    deploy = ("--no-prompt", "deploy", "--all", "--prefect-file", str(prefect_file))
    return [*create, Process("deploy", "prefect", deploy, told, layout.logs)]


def cluster(ports: Ports, layout: ServiceFolders, workers: int, gpus: int) -> list[Process]:
    """Dask's scheduler and workers: processes of one thread, each started again by its nanny when it dies."""
    told, address = environment(ports, layout), scheduler_address(ports, layout)
    dashboard, tls = f"{HOST}:{ports.dashboard}", _tls_options(layout)
    protocol = ("--protocol", "tls") if tls else ()
    parts = [
        Process(
            "dask-scheduler", "dask",
            ("scheduler", "--host", HOST, "--port", str(ports.scheduler), "--dashboard-address", dashboard,
             *protocol, *tls),
            told, layout.logs,
        )
    ]  # fmt: skip
    common: tuple[str, ...] = ("worker", address, "--host", HOST, "--nthreads", "1")
    common = (*common, "--local-directory", str(layout.dask), "--dashboard-address", f"{HOST}:0", *tls)
    if workers:
        parts.append(Process("dask-workers", "dask", (*common, "--nworkers", str(workers)), told, layout.logs))
    for number in range(gpus):
        options = ("--nworkers", "1", "--resources", f"{GPU}={PER_GPU}")
        only = {"CUDA_VISIBLE_DEVICES": str(number)}
        parts.append(Process(f"dask-gpu-{number}", "dask", (*common, *options), told | only, layout.logs))
    return parts


def flow_workers(ports: Ports, layout: ServiceFolders) -> list[Process]:
    """A Prefect worker a pool, each with one flow at a time."""
    told = environment(ports, layout)
    command = ("worker", "start", "--type", "process", "--limit", "1", "--pool")
    return [
        Process(f"prefect-worker-{pool}", "prefect", (*command, pool), told, layout.logs, grace=_FLOW_GRACE)
        for pool in POOLS
    ]
