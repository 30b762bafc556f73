"""`sitscube serve` as a process of a test, with a deployment of its own."""

import sys

import psutil

from tests.support.paths import ROOT
from tests.support.prefect_api import Api
from tests.support.processes import Process, free_port, wait_until

DEPLOYMENTS = """\
name: small
pull:
  - prefect.deployments.steps.set_working_directory: {{directory: "{root}"}}
deployments:
  - name: every-minute
    entrypoint: flows/annual.py:annual_map
    work_pool: {{name: cpu, job_variables: {{stream_output: false}}}}
    concurrency_limit: {{limit: 1, collision_strategy: CANCEL_NEW}}
    schedules: [{{cron: "* * * * *"}}]
    parameters: {{config_file: "{country}/small.toml", out: "{out}"}}
"""


class Serving(Api):
    """The command as a process, its folder and its ports."""

    def __init__(self, folder, *options, environment=None, password=None):
        self.folder, self.port, self.dashboard = folder, free_port(), free_port()
        super().__init__(self.port)
        self.session.auth = password
        self.environment = environment or {}
        self.scheduler = free_port()
        self.options = options
        self.process = self.start("serve.log", self.port)

    def start(self, log, port):
        ports = ("--port", str(port), "--scheduler-port", str(self.scheduler), "--dashboard-port", str(self.dashboard))
        command = [sys.executable, "-m", "flows.cli", "serve", "--folder", str(self.folder / "service"), *ports]
        environment = {"PYTHONPATH": str(ROOT), "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
        return Process([*command, "--workers", "2", *self.options], self.folder / log, environment | self.environment)

    def below(self):
        """Return every process that it has started."""
        return psutil.Process(self.process._popen.pid).children(recursive=True)

    def find(self, *words):
        return [one for one in self.below() if all(word in " ".join(one.cmdline()) for word in words)]

    def wait(self):
        wait_until(
            lambda: "Ctrl-C stops everything" in self.process.output or not self.process.alive, "the service", 120
        )
        assert self.process.alive, self.process.output

    def kill(self):
        left = self.below() if self.process.alive else []
        self.process.kill()
        for process in left:
            if process.is_running():
                process.kill()
