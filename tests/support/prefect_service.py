"""A Prefect server and a worker of a test's own, with the project's deployments."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.prefect_api import Api
from tests.support.processes import Process, free_port, wait_until


class Service(Api):
    """A Prefect server with the project's deployments, and a worker for them."""

    def __init__(self, folder, **environment):
        self.folder, port = folder, free_port()
        super().__init__(port)
        self.environment = {
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        } | environment
        self.processes = []

    def prefect(self, *arguments):
        log = self.folder / f"{len(self.processes)}-{arguments[0]}.log"
        process = Process([sys.executable, "-m", "prefect", *arguments], log, self.environment)
        self.processes.append(process)
        return process

    def start(self):
        server = self.prefect("server", "start")
        wait_until(lambda: self._healthy(server), "the Prefect server")
        for pool in ("cpu", "gpu"):
            assert self.prefect("work-pool", "create", pool, "--type", "process").wait() == 0
        deploy = self.prefect("--no-prompt", "deploy", "--all", "--prefect-file", "deploy/prefect.yaml")
        assert deploy.wait() == 0, deploy.output
        self.worker = self.prefect("worker", "start", "--pool", "cpu", "--type", "process", "--limit", "1")

    def _healthy(self, server):
        assert server.alive, server.output
        return self.healthy

    def stop(self):
        for process in reversed(self.processes):
            process.kill()


@contextmanager
def started(folder, **environment):
    """Start the service in the repository's root, where deployments run; `environment` is that of all its processes."""
    service = Service(folder, **environment)
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        service.start()
        yield service
    finally:
        os.chdir(here)
        service.stop()


def given(country, out, **parameters):
    """Return the parameters of a run of the small country."""
    small = {"config_file": str(country / "small.toml"), "out": str(out), "workers": 1}
    return small | {"last_complete_year": False} | parameters
