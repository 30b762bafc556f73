"""The cluster that the configuration asks for: none, one of our own on this machine, or one that is there."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

from pipeline.executor import Executor, InProcess, Limits
from pipeline.held import GPU
from pipeline.on_dask import OnDask, open_client
from pipeline.sections import Cluster

HOST: Final = "127.0.0.1"
PER_GPU: Final = 3  # tasks of a GPU at once: one has read, one computes, one writes (see `turns`)


@contextmanager
def open_executor(settings: Cluster) -> Iterator[tuple[Executor, str | None]]:
    """Open what the configuration asks for: in process, "local" a cluster of our own, else the scheduler's address.

    Yields:
        The executor and the dashboard's address (None in process).

    Raises:
        UserError: no scheduler answers.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)  # comings and goings of workers are on the dashboard
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost scheduler is told once, by the executor
    limits = Limits(settings.max_failures, settings.retries, settings.patience)
    if settings.scheduler is None:
        yield InProcess(limits), None
        return
    with _client(settings) as client:
        executor = OnDask(client, limits, cpu_beside_gpu=settings.cpu_beside_gpu)
        try:
            yield executor, client.dashboard_link
        finally:
            executor.close()


@contextmanager
def _client(settings: Cluster) -> Iterator[Client]:
    if settings.scheduler != "local":
        with open_client(str(settings.scheduler)) as client:
            yield client
        return
    with _local_cluster(settings.workers, gpus()) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


def gpus() -> int:
    """GPUs that torch can use on this machine."""
    import torch

    return torch.cuda.device_count()


def _local_cluster(workers: int, n_gpus: int) -> Any:
    """Worker processes of one thread each on this machine; as many of them as there are GPUs declare one."""
    if n_gpus == 0:
        return LocalCluster(n_workers=workers, threads_per_worker=1, host=HOST, dashboard_address=f"{HOST}:0")
    common = {"nthreads": 1, "host": HOST}
    spec = {
        number: {
            "cls": Nanny,
            "options": {**common, "env": {"CUDA_VISIBLE_DEVICES": str(number)}, "resources": {GPU: PER_GPU}}
            if number < n_gpus
            else common,
        }
        for number in range(max(workers, n_gpus))
    }
    scheduler = {"cls": Scheduler, "options": {"host": HOST, "port": 0, "dashboard_address": f"{HOST}:0"}}
    return SpecCluster(workers=spec, scheduler=scheduler)
