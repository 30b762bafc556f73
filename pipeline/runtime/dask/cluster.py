"""The cluster that the configuration names: none, a local one that is started here, or one that runs already."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster
from distributed.security import Security

from pipeline.base.errors import UserError
from pipeline.runtime.dask.executor import OnDask, open_client
from pipeline.runtime.executor import Executor, InProcess, Limits
from pipeline.runtime.machine import gpus
from pipeline.runtime.per_process import GPU
from pipeline.runtime.settings import TLS_KEYS, Cluster

HOST: Final = "127.0.0.1"
_ROLES: Final = ("scheduler", "worker", "client")
PER_GPU: Final = 3  # tasks at once: one has read, one computes, one writes (see `overlap`)


@contextmanager
def open_executor(settings: Cluster) -> Iterator[tuple[Executor, str | None]]:
    """Yield the executor that the configuration names: in process, on a local cluster, or at a scheduler's address.

    Yields:
        The executor and the dashboard's address (None in process).

    Raises:
        UserError: no scheduler answers.
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)  # comings and goings of workers are on the dashboard
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # the executor reports a lost scheduler, once
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
    secured = security(settings)
    if settings.scheduler != "local":
        with open_client(str(settings.scheduler), secured) as client:
            yield client
        return
    with (
        _local_cluster(settings.workers, gpus(), secured) as cluster,
        Client(cluster, security=secured, set_as_default=False) as client,
    ):
        yield client


def security(settings: Cluster) -> Security | None:
    """Return Dask's settings of certificates; None where it works without TLS.

    Raises:
        UserError: a file is missing or cannot be used; the message names it with its key.
    """
    if settings.tls is None:
        return None
    ca_file, cert, key = map(str, settings.tls)
    files = {f"tls_{role}_{kind}": path for role in _ROLES for kind, path in (("cert", cert), ("key", key))}
    made = Security(tls_ca_file=ca_file, require_encryption=True, **files)
    try:
        for name, path in zip(TLS_KEYS, settings.tls, strict=True):
            if not path.is_file():
                raise UserError(f"cluster.{name} = {path} is no file that can be read.")
        made.get_connection_args("client")
    except OSError as error:  # of ssl, too
        raise UserError(
            f"cluster.tls_ca_file, tls_cert and tls_key ({ca_file}, {cert}, {key}) cannot be used together: {error}."
        ) from None
    return made


def _local_cluster(workers: int, n_gpus: int, secured: Security | None) -> Any:
    """Start workers of one thread each on this machine; as many of them as there are GPUs declare one."""
    if n_gpus == 0:
        return LocalCluster(
            n_workers=workers, threads_per_worker=1, host=HOST, dashboard_address=f"{HOST}:0", security=secured
        )
    tls: dict[str, object] = {} if secured is None else {"security": secured, "protocol": "tls://"}
    common = {"nthreads": 1, "host": HOST, **tls}
    spec = {
        number: {
            "cls": Nanny,
            "options": {**common, "env": {"CUDA_VISIBLE_DEVICES": str(number)}, "resources": {GPU: PER_GPU}}
            if number < n_gpus
            else common,
        }
        for number in range(max(workers, n_gpus))
    }
    scheduler = {"cls": Scheduler, "options": {"host": HOST, "port": 0, "dashboard_address": f"{HOST}:0", **tls}}
    return SpecCluster(workers=spec, scheduler=scheduler, security=secured)
