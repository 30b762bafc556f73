"""The flow as a user starts it: a process of its own, Prefect's embedded server, two Dask workers."""

import os
import subprocess
import sys

import pytest
import xarray as xr

from tests.support.paths import ROOT
from tests.support.small_country import make_country

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow")
    make_country(folder / "country")
    (folder / "small.toml").write_text(
        f'[region]\nname = "small"\noutline = "{folder}/country/outline.geojson"\n[ingest]\nshard = 16\nchunk = 8\n'
        "[training]\niterations = 20\nwarm_up = 30\npretrain_epochs = 20\nbatch_size = 200\n"
    )
    return folder


def annual_map(folder, *arguments):
    command = [sys.executable, "-m", "flows", "--config", "small.toml", "--out", "out", "--year", "2018", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**environment, "PYTHONPATH": str(ROOT)}
    )


def test_the_flow_maps_a_year_and_the_second_run_does_nothing(folder):
    job = ("--granules", "country/granules", "--reference", "country/reference.tif")
    first = annual_map(folder, *job)
    said = first.stdout + first.stderr
    assert first.returncode == 0, said
    assert "Dask dashboard: http://127.0.0.1:" in said
    assert "overall accuracy: " in said
    assert "Finished in state Completed" in said
    assert "Traceback" not in said
    year = folder / "out" / "small" / "2018"
    assert xr.open_zarr(year / "map.zarr", consolidated=False).attrs["complete"]
    assert (year / "report" / "index.html").exists()
    second = annual_map(folder, *job)
    assert second.returncode == 0
    for stage in ("ingest", "prepare", "train", "infer", "evaluate", "publish"):
        assert f"{stage}: nothing to do" in second.stdout + second.stderr


def test_a_flow_that_cannot_go_on_ends_with_one_message_and_status_1(folder):
    (folder / "empty").mkdir()
    failed = annual_map(folder, "--granules", "empty")
    said = failed.stdout + failed.stderr
    assert failed.returncode == 1
    assert "holds no LAI/FPAR granule" in said
    assert "Traceback" not in said
