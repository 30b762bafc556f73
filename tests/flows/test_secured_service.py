"""`sitscube serve` with a password for Prefect's API and certificates for Dask."""

import signal

import psutil
import pytest
import requests

from pipeline.base.errors import UserError
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.settings import Cluster
from tests.support.certificates import make_certificates
from tests.support.serving import DEPLOYMENTS, ROOT, Serving
from tests.support.small_country import flow_country

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PASSWORD = "only-for-those-who-know-it"


@pytest.fixture
def files(tmp_path):
    return make_certificates(tmp_path / "keys")


@pytest.fixture
def serving(tmp_path, files):
    country = flow_country(tmp_path / "country")
    file = tmp_path / "prefect.yaml"
    file.write_text(DEPLOYMENTS.format(root=ROOT, country=country, out=tmp_path / "out"))
    variables = {f"SITSCUBE_CLUSTER__{name.upper()}": str(path) for name, path in files.items()}
    variables["PREFECT_SERVER_API_AUTH_STRING"] = f"admin:{PASSWORD}"
    serving = Serving(tmp_path, "--prefect-file", str(file), environment=variables, password=("admin", PASSWORD))
    try:
        serving.wait()
        yield serving
    finally:
        serving.kill()


def test_a_run_completes_and_who_has_no_password_or_certificate_is_refused(serving, files):
    scheduler = f"tls://127.0.0.1:{serving.scheduler}"
    assert scheduler in serving.process.output
    assert requests.post(f"{serving.api}/flow_runs/filter", json={}, timeout=10).status_code == 401
    with pytest.raises(UserError, match=r"cluster\.tls_ca_file"), open_executor(Cluster(scheduler=scheduler)):
        pass
    with open_executor(Cluster(scheduler=scheduler, **files)) as (executor, _):
        assert executor.describe().workers == 2
    deployment = serving.get("deployments/name/annual_map/every-minute")["id"]
    serving.ask(f"deployments/{deployment}/pause_deployment")
    run = serving.run("annual_map/every-minute", out=str(serving.folder / "out2"))
    serving.wait_for(run, "COMPLETED")
    started = serving.below()
    assert not any(PASSWORD in " ".join(one.cmdline()) for one in started)
    serving.process._popen.send_signal(signal.SIGTERM)
    assert serving.process.wait(120) == 0, serving.process.output
    _gone, alive = psutil.wait_procs(started, 5)
    assert not alive
    for path in serving.folder.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path
