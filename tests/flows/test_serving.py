"""`sitscube serve` as a user starts it: a scheduled run, workers killed in the middle of another, and its end."""

import json
import signal

import psutil
import pytest
import requests

from pipeline.base import locks
from tests.support.processes import free_port, wait_until
from tests.support.serving import DEPLOYMENTS, ROOT, Serving
from tests.support.small_country import flow_country

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


@pytest.fixture(scope="module")
def country(tmp_path_factory):
    return flow_country(tmp_path_factory.mktemp("country") / "small")


@pytest.fixture(scope="module")
def serving(tmp_path_factory, country):
    folder = tmp_path_factory.mktemp("serving")
    file = folder / "prefect.yaml"
    file.write_text(DEPLOYMENTS.format(root=ROOT, country=country, out=folder / "out"))
    serving = Serving(folder, "--prefect-file", str(file))
    try:
        serving.wait()
        yield serving
    finally:
        serving.kill()


def finished(out):
    year = out / "small" / "2018"
    return json.loads((year / "run.json").read_text()), json.loads((year / "map.zarr" / "zarr.json").read_text())


def test_a_scheduled_run_completes_on_the_service_s_dask_cluster(serving):
    assert f"http://127.0.0.1:{serving.port}" in serving.process.output
    assert f"http://127.0.0.1:{serving.dashboard}/status" in serving.process.output
    wait_until(lambda: serving.scheduled("annual_map/every-minute"), "a scheduled run")
    run = serving.scheduled("annual_map/every-minute")[0]["id"]
    serving.wait_for(run, "COMPLETED")
    _, about = finished(serving.folder / "out")
    assert about["attributes"]["complete"]
    scheduler = requests.get(f"http://127.0.0.1:{serving.dashboard}/metrics", timeout=10)
    assert "dask_scheduler_workers" in scheduler.text
    server = requests.get(f"{serving.api}/metrics", timeout=10)
    assert server.ok
    assert "prefect_worker_channel" in server.text
    assert f"127.0.0.1:{serving.dashboard}" in serving.artifacts(run)["small-2018-dask-dashboard"]["data"]


def test_a_second_service_says_that_one_is_running(serving):
    second = serving.start("second.log", free_port())
    assert second.wait() == 1
    assert "a service is running already in" in second.output
    assert f"process {serving.process._popen.pid}" in second.output


def test_a_run_survives_the_death_of_a_dask_worker_and_of_its_prefect_worker(serving):
    deployment = serving.get("deployments/name/annual_map/every-minute")["id"]
    serving.ask(f"deployments/{deployment}/pause_deployment")
    out = serving.folder / "out2"
    wait_until(lambda: all(run["state_type"] not in ("RUNNING", "PENDING") for run in
               serving.scheduled("annual_map/every-minute")), "the last scheduled run to end")  # fmt: skip
    run = serving.run("annual_map/every-minute", out=str(out), iterations=300)
    serving.wait_for_task(run, "ingest 2018")
    nanny = serving.find("dask", "worker", "--nworkers")[0]
    killed = next(one for one in nanny.children() if "spawn_main" in " ".join(one.cmdline()))
    killed.send_signal(signal.SIGKILL)
    serving.wait_for_task(run, "train 2018")
    (worker,) = serving.find("prefect worker start", "--pool cpu")
    worker.send_signal(signal.SIGKILL)
    serving.wait_for(run, "COMPLETED")
    _, about = finished(out)
    assert about["attributes"]["complete"]
    wait_until(lambda: "prefect-worker-cpu has ended (status -9)" in serving.process.output, "the worker's successor")
    wait_until(lambda: serving.find("prefect worker start", "--pool cpu"), "the worker's successor")


def test_nothing_is_left_when_it_is_asked_to_end(serving):
    run = serving.run("annual_map/every-minute", out=str(serving.folder / "out3"), iterations=100_000)
    serving.wait_for_task(run, "train 2018")
    started = serving.below()
    assert len(started) > 8
    serving.process._popen.send_signal(signal.SIGTERM)
    assert serving.process.wait(120) == 0, serving.process.output
    _gone, alive = psutil.wait_procs(started, 5)
    assert not alive
    with locks.hold(serving.folder / "out3" / "small" / "2018", "another run"):
        pass  # it has been let go of
    assert not (serving.folder / "service" / ".lock").exists()
    serving.process = serving.start("again.log", serving.port)
    serving.wait()
    assert "1 runs were at work when the last service ended" in serving.process.output
    assert serving.state(run)["type"] == "CRASHED"
    assert "start it again, it goes on where it was" in serving.state(run)["message"]
    serving.process._popen.send_signal(signal.SIGTERM)
    assert serving.process.wait(120) == 0, serving.process.output
