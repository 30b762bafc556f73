"""Requests of tests to the API of a Prefect server."""

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from tests.support.processes import wait_until

ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


class Api:
    """A Prefect server that listens on a port of 127.0.0.1."""

    def __init__(self, port):
        self.api = f"http://127.0.0.1:{port}/api"
        self.session = requests.Session()  # like Prefect's own clients, it asks a busy server again
        busy = Retry(10, connect=0, status_forcelist=[503], allowed_methods=None, backoff_factor=0.2)
        self.session.mount("http://", HTTPAdapter(max_retries=busy))

    @property
    def healthy(self):
        try:
            return requests.get(f"{self.api}/health", timeout=2).ok
        except requests.RequestException:
            return False

    def ask(self, path, items=None, **body):
        answer = self.session.post(f"{self.api}/{path}", json=items or body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def get(self, path):
        answer = self.session.get(f"{self.api}/{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def state(self, run):
        return self.get(f"flow_runs/{run}")["state"]

    def wait_for(self, run, kind, patience=180):
        def there():
            found = self.state(run)
            assert found["type"] == kind or found["type"] not in ENDS, (found, self.messages(run))
            return found["type"] == kind

        wait_until(there, f"a run that is {kind}", patience)

    def run(self, deployment, **parameters):
        there = self.get(f"deployments/name/{deployment}")["id"]
        return self.ask(f"deployments/{there}/create_flow_run", parameters=parameters)["id"]

    def scheduled(self, deployment):
        there = self.get(f"deployments/name/{deployment}")["id"]
        runs = self.ask("flow_runs/filter", deployments={"id": {"any_": [there]}}, sort="EXPECTED_START_TIME_ASC")
        return [run for run in runs if run["auto_scheduled"]]

    def tasks(self, run):
        return {one["name"]: one for one in self.ask("task_runs/filter", flow_runs={"id": {"any_": [run]}})}

    def wait_for_task(self, run, name, patience=180):
        def running():
            state = self.state(run)
            assert state["type"] not in ENDS, (state, self.messages(run))
            return self.tasks(run).get(name, {}).get("state_type") == "RUNNING"

        wait_until(running, f"{name} to begin", patience)

    def artifacts(self, run):
        return {one["key"]: one for one in self.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [run]}})}

    def messages(self, run):
        return [line["message"] for line in self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)]
