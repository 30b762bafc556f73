"""The deployments as they stand, on a Prefect server and a process worker of the test's own, on 127.0.0.1."""

import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import ClassVar

import psutil
import pytest
import requests
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows import stages
from pipeline.base.errors import OutOfReach, UserError
from pipeline.config.config import load_config
from pipeline.runtime.stage import StageResult
from tests.support.prefect_service import given, started
from tests.support.processes import Process, wait_until
from tests.support.small_country import flow_country

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]
STAGES = ("ingest", "prepare", "train", "infer", "evaluate", "publish")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with started(tmp_path_factory.mktemp("prefect")) as service:
        yield service


@pytest.fixture(scope="module")
def country(tmp_path_factory):
    return flow_country(tmp_path_factory.mktemp("country") / "small")


def test_every_deployment_has_a_pool_a_form_that_checks_and_the_annual_one_a_schedule_in_january(service):
    found = {f"{one['entrypoint']}": one for one in service.ask("deployments/filter")}
    pools = {entrypoint.rpartition(":")[2]: one["work_pool_name"] for entrypoint, one in found.items()}
    assert pools == {
        "annual_map": "cpu", "backfill": "cpu", "download": "cpu", "ingest": "cpu", "train": "gpu", "infer": "gpu",
        "evaluate": "cpu", "publish": "cpu", "refresh": "cpu",
    }  # fmt: skip
    annual = found["flows/annual.py:annual_map"]
    (schedule,) = annual["schedules"]
    assert schedule["schedule"]["cron"].split()[3] == "1"
    (eight_days,) = found["flows/refresh.py:refresh"]["schedules"]
    assert eight_days["schedule"]["interval"] == 8 * 24 * 3600
    for one in found.values():
        assert one["global_concurrency_limit"]["limit"] == 1
        assert one["concurrency_options"]["collision_strategy"] == "CANCEL_NEW"
        properties = one["parameter_openapi_schema"]["properties"]
        assert all(about.get("description") for about in properties.values())
    refused = requests.post(
        f"{service.api}/deployments/{annual['id']}/create_flow_run", json={"parameters": {"year": 1800}}, timeout=30
    )
    assert refused.status_code == 409
    assert "1800" in refused.text


def test_a_scheduled_run_maps_the_year_and_shows_it(service, country, tmp_path):
    deployment = service.get("deployments/name/annual_map/italy-annual")["id"]
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    rule = f"DTSTART:{soon[:19].replace('-', '').replace(':', '')}Z\nRRULE:FREQ=YEARLY;COUNT=1"
    schedule = {"schedule": {"rrule": rule, "timezone": "UTC"}, "active": True}
    service.ask(
        f"deployments/{deployment}/schedules", [{**schedule, "parameters": given(country, tmp_path / "out", year=2018)}]
    )

    def scheduled():
        runs = service.scheduled("annual_map/italy-annual")
        return [run for run in runs if run["parameters"].get("year") == 2018]

    wait_until(scheduled, "a scheduled run")
    run = scheduled()[0]["id"]
    service.wait_for(run, "COMPLETED")
    year = tmp_path / "out" / "small" / "2018"
    assert json.loads((year / "run.json").read_text())["map"]
    shown = service.artifacts(run)
    assert {f"small-2018-{stage}" for stage in STAGES} <= set(shown)
    assert all(shown[f"small-2018-{stage}"]["data"] == 100 for stage in ("ingest", "infer", "publish"))
    table = json.loads(shown["small-2018-accuracy"]["data"])
    accuracy = json.loads((year / "report" / "accuracy.json").read_text())
    assert [[row["reference winter"], row["reference summer"]] for row in table] == accuracy["confusion"]
    assert shown["small-2018-report"]["data"].endswith("/report/index.html)")
    assert "127.0.0.1" in shown["small-2018-dask-dashboard"]["data"]
    assert "data:image/png;base64," in shown["small-2018-map"]["data"]
    assert any("labels by the date of their peak" in message for message in service.messages(run))
    assert sorted(service.tasks(run)) == sorted(f"{stage} 2018" for stage in STAGES)


def test_a_running_year_is_refreshed_with_the_model_of_another_and_once_more_does_nothing(service, country, tmp_path):
    out = tmp_path / "out"
    refresh = given(country, out, year=2018, as_of="2018-06-30")
    del refresh["last_complete_year"]
    run = service.run("refresh/italy-refresh", **refresh)
    service.wait_for(run, "FAILED")
    assert "no year before 2018 has a trained model" in service.state(run)["message"]
    whole = service.run("annual_map/italy-annual", **given(country, out, year=2018))
    service.wait_for(whole, "COMPLETED")
    own = service.run("refresh/italy-refresh", **{**refresh, "model_year": 2017})
    service.wait_for(own, "COMPLETED")
    assert service.state(own)["message"] == "2018 has been mapped with a model of its own, which stays"
    (out / "small" / "2018").rename(out / "small" / "2017")
    first = service.run("refresh/italy-refresh", **refresh)
    service.wait_for(first, "COMPLETED")
    assert sorted(service.tasks(first)) == sorted(f"{stage} 2018" for stage in STAGES if stage != "train")
    report = (out / "small" / "2018" / "report" / "index.html").read_text()
    assert "The year is still running" in report
    second = service.run("refresh/italy-refresh", **refresh)
    service.wait_for(second, "COMPLETED")
    assert service.state(second)["message"].startswith("nothing new; ")


class Told(BaseHTTPRequestHandler):
    """An address that notifications are posted to."""

    said: ClassVar[list[str]] = []

    def do_POST(self):
        self.said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_run_that_fails_is_told_to_the_address_of_the_automation(service, country, tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Told) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = service.environment | {"NOTIFY_URL": f"http://127.0.0.1:{server.server_port}/hook?token=hidden"}
        for attempt in range(2):  # the second time it is replaced
            made = Process([sys.executable, "deploy/notify.py"], tmp_path / f"notify-{attempt}.log", environment)
            assert made.wait() == 0, made.output
        (automation,) = service.ask("automations/filter")
        assert automation["name"] == "sitscube-runs-in-trouble"
        (tmp_path / "empty").mkdir()
        run = service.run(
            "annual_map/italy-annual", **given(country, tmp_path / "out", granules=str(tmp_path / "empty"))
        )
        service.wait_for(run, "FAILED")
        wait_until(lambda: Told.said, "a notification", 60)
        server.shutdown()
    assert "annual_map" in Told.said[0]
    assert "holds no LAI/FPAR granule" in Told.said[0]
    (block,) = [b for b in service.ask("block_documents/filter") if b["name"] == "sitscube-runs-in-trouble"]
    assert "hidden" not in json.dumps(block)


def test_a_cancelled_run_ends_its_dask_workers_and_can_be_gone_on_with(service, country, tmp_path):
    out = tmp_path / "out"
    run = service.run("annual_map/italy-annual", **given(country, out, iterations=100_000))
    service.wait_for_task(run, "train 2018")
    (flow,) = [p for p in psutil.Process(service.worker._popen.pid).children() if "prefect" in " ".join(p.cmdline())]
    started = [flow, *flow.children(recursive=True)]
    assert len(started) > 2  # Dask's nanny and worker among them
    service.ask(f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
    service.wait_for(run, "CANCELLED", patience=90)
    _gone, alive = psutil.wait_procs(started, 30)
    assert not alive
    assert not (out / "small" / "2018" / ".lock").exists()
    again = service.run("annual_map/italy-annual", **given(country, out, iterations=20))
    service.wait_for(again, "COMPLETED")


def test_a_year_that_fails_stops_no_other_and_bad_input_is_not_tried_again(service, country, tmp_path):
    parameters = given(country, tmp_path / "out", years=[2019, 2018, 2018])
    del parameters["last_complete_year"]
    run = service.run("backfill/italy-backfill", **parameters)
    service.wait_for(run, "FAILED")
    message = service.state(run)["message"]
    assert message.startswith("1 of 2 years failed")
    assert "\n  2019: ingest 2019: " in message
    assert "\n  2018: " not in message
    assert (tmp_path / "out" / "small" / "2018" / "run.json").exists()
    tasks = service.ask("task_runs/filter", task_runs={"name": {"any_": ["ingest 2019"]}})
    assert [one["run_count"] for one in tasks] == [1]


def test_only_a_service_that_does_not_answer_makes_a_stage_be_tried_again(service, country, tmp_path, monkeypatch):
    tried = []

    def run_stage(name, config, executor, reporter):
        tried.append(name)
        if name == "ingest" and len(tried) < 3:
            raise OutOfReach("the Dask scheduler is gone")
        if name == "prepare":
            raise UserError("the disk is full")
        return StageResult(name, True, ())

    monkeypatch.setattr(stages, "run_stage", run_stage)
    monkeypatch.setattr(stages, "stage_task", stages.stage_task.with_options(retry_delay_seconds=0))
    config = load_config(country / "small.toml", out=tmp_path / "out")
    with temporary_settings({PREFECT_API_URL: service.api, PREFECT_HOME: tmp_path / "home"}):
        state = flow(stages.do_stages, name="trial", persist_result=False)(
            config, ["ingest", "prepare", "train"], "trial", return_state=True
        )
    assert tried == ["ingest", "ingest", "ingest", "prepare"]
    assert state.is_failed()
    assert state.message == "prepare 2018: the disk is full"


def test_nothing_is_left_when_worker_and_server_are_asked_to_end(service):
    worker = psutil.Process(service.worker._popen.pid)
    os.kill(worker.pid, signal.SIGTERM)
    assert service.worker.wait(60) in (0, -signal.SIGTERM, 1)
    assert not psutil.pid_exists(worker.pid) or not worker.is_running()
