import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import s3fs
import xarray as xr

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.locations import check_reachable, keys_below, to_location
from pipeline.base.progress import Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Shard
from pipeline.runtime.executor import InProcess
from pipeline.stages.infer.stage import infer, shard_fingerprints
from pipeline.stages.publish import publish
from pipeline.stages.run import run
from pipeline.stages.train.stage import state_folder
from tests.support.paths import ROOT
from tests.support.small_country import make_country, objects, small_config
from tests.support.written import GRID, begin, do_shard

# sessions of filesystems for another environment, which the tests drop with fsspec's cache of them
pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed c:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"),
]
STORES = ("cube", "map", "reference_grid", "clusters")


def config_at(country: Path, out: str, local: Path, **overrides: object) -> Config:
    return small_config(country, out, local=local, ingest__shard=16, ingest__chunk=8, **overrides)  # type: ignore[arg-type]


def objects_at(store) -> dict[str, str]:
    """As `objects` of a store on a disk."""
    return {
        key: hashlib.sha256(store.fs.cat_file(f"{store.path.rstrip('/')}/{key}")).hexdigest()
        for key in sorted(keys_below(store))
        if not key.endswith("zarr.json") and not key.startswith("records/")
    }


def check_whole_run(config: Config, finished: Config) -> None:
    """A run ends with the bytes of one on a disk; a second has nothing to do; notebooks read what it wrote."""
    assert all(result.fresh for result in run(config, InProcess(), Silent()))
    for name in STORES:
        assert objects_at(getattr(config, name)) == objects(getattr(finished, name))
    data = xr.open_zarr(str(config.map), consolidated=False)
    assert data.attrs["complete"]
    stored = layout.array(stores.open_to_read(finished.map), "label")[:]
    np.testing.assert_array_equal(xr.open_zarr(str(config.map), consolidated=False, mask_and_scale=False).label, stored)
    assert not any(result.fresh for result in run(config, InProcess(), Silent()))
    assert (config.report / "map.png").read_bytes().startswith(b"\x89PNG")
    assert "overall accuracy" in (config.report / "index.html").read_text().lower()
    assert json.loads((config.year_folder / "run.json").read_text())["configuration"]["out"] == str(config.out)
    assert not (config.year_folder / locks.NAME).exists()
    assert not state_folder(config).exists()


@pytest.fixture(scope="module")
def in_memory(country, tmp_path_factory):
    """A finished run at a URL."""
    local = tmp_path_factory.mktemp("local")
    return config_at(country, f"memory://{local.name}", local)


def test_a_whole_run_in_memory_ends_with_the_bytes_of_one_on_a_disk(in_memory, finished):
    check_whole_run(in_memory, finished)


@pytest.mark.slow
def test_a_year_joins_the_others_at_a_url(in_memory, tmp_path):
    run(in_memory, InProcess(), Silent())
    make_country(tmp_path / "2021", year=2021, seed=1)
    other = config_at(tmp_path / "2021", str(in_memory.out), tmp_path / "local", year=2021)
    run(other, InProcess(), Silent())
    years = xr.open_zarr(str(other.clusters), consolidated=False, mask_and_scale=False)
    assert years.year.values.tolist() == [2018, 2021]
    for config in (in_memory, other):
        label = layout.array(stores.open_to_read(config.map), "label")[:]
        np.testing.assert_array_equal(years.label.sel(year=config.year).values, label)
    assert not publish(in_memory).fresh
    of_region = {"2018", "2021", "change", "clusters.zarr", "collection.json"}
    assert {key.split("/")[0] for key in keys_below(other.region_folder)} == of_region
    of_products = {"label.tif", "label.tif.aux.xml", "label.qml", "confidence.tif"}
    assert keys_below(other.products) == {f"sitscube_small_2021_{name}" for name in of_products}


@pytest.fixture(scope="module")
def server():
    """An S3-compatible server on this machine, with one bucket."""
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """The environment that leads there."""
    for name, value in (
        ("AWS_ENDPOINT_URL", server),
        ("AWS_ACCESS_KEY_ID", "tester"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if not files.exists("bucket"):
        files.mkdir("bucket")
    yield files
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.slow
def test_a_whole_run_on_s3_ends_with_the_bytes_of_one_on_a_disk(s3, country, finished, tmp_path):
    check_whole_run(config_at(country, "s3://bucket/whole", tmp_path), finished)


SLOW_INFER = """
import sys, time
from pathlib import Path
from tests.support.small_country import small_config
from pipeline.stages.infer import stage as infer
from pipeline.cube import stores

write = stores.write_record
def slowly(*arguments):
    write(*arguments)
    print("wrote", flush=True)
    time.sleep(0.1)
stores.write_record = slowly
country, out, local = sys.argv[1:4]
infer.infer(small_config(Path(country), out, local=Path(local), ingest__shard=16, ingest__chunk=8))
"""


@pytest.mark.slow
def test_a_killed_infer_on_s3_goes_on_and_ends_with_the_same_bytes(s3, country, finished, tmp_path):
    config = config_at(country, "s3://bucket/killed", tmp_path)
    for store in ("cube.zarr", "model"):
        folder = finished.year_folder / store
        for path in folder.rglob("*"):
            if path.is_file():
                s3.pipe_file(f"bucket/killed/small/2018/{store}/{path.relative_to(folder)}", path.read_bytes())
    arguments = [str(country), str(config.out), str(tmp_path)]
    for written in (3, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", SLOW_INFER, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        assert process.stdout is not None
        for _ in range(written):
            assert process.stdout.readline() == b"wrote\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert not xr.open_zarr(str(config.map), consolidated=False).attrs["complete"]
    grid = layout.read_grid(stores.open_to_read(config.map))
    method = str(stores.stage_method(stores.open_to_read(config.map), "infer"))
    marks = shard_fingerprints(stores.open_to_read(config.cube), method, grid.shards)
    left = stores.shards_to_do(config.map, "infer", marks, ["label", "fpar_filled"], grid)
    assert len(left) == len(grid.shards) - 7
    assert infer(config).facts["shards"] == len(left)
    assert objects_at(config.map) == objects(finished.map)
    assert not infer(config).fresh


@pytest.mark.slow
def test_what_another_process_writes_to_s3_is_seen_at_once(s3):
    path = to_location("s3://bucket/listed/a.zarr")
    begin(path)
    assert len(stores.shards_to_do(path, "ingest", "a", ["label", "fpar"], GRID)) == len(GRID.shards)
    other = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    elsewhere = to_location("s3://bucket/other/a.zarr")
    begin(elsewhere)
    do_shard(elsewhere, Shard(0, 0))
    for key in ("label/c/0/0", "fpar/c/0/0/0", f"records/ingest/{Shard(0, 0)}.json"):
        other.cp_file(f"bucket/other/a.zarr/{key}", f"bucket/listed/a.zarr/{key}")
    assert Shard(0, 0) not in stores.shards_to_do(path, "ingest", "a", ["label", "fpar"], GRID)
    other.rm_file("bucket/listed/a.zarr/label/c/0/0")
    assert Shard(0, 0) in stores.shards_to_do(path, "ingest", "a", ["label", "fpar"], GRID)


HOLDS = """
import sys, time
from pipeline.base import locks

from pipeline.base.locations import to_location

with locks.hold(to_location(sys.argv[1]), "sitscube run"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_second_run_on_s3_is_refused_until_the_first_is_killed(s3):
    folder = to_location("s3://bucket/locked/2018")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    try:
        with pytest.raises(UserError, match=f"process {process.pid} on"), locks.hold(folder, "sitscube run"):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert (folder / locks.NAME).exists()
    started = time.monotonic()
    with locks.hold(folder, "sitscube run"):
        pass
    assert time.monotonic() - started < 10
    assert not (folder / locks.NAME).exists()


@pytest.mark.slow
def test_of_s3_a_missing_bucket_and_missing_credentials_are_told(s3, monkeypatch, country, tmp_path):
    with pytest.raises(UserError, match=r"s3://nobody/x.*no such bucket"):
        run(config_at(country, "s3://nobody/x", tmp_path), InProcess(), Silent())
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"access is refused.*AWS_ACCESS_KEY_ID"):
        check_reachable(to_location("s3://bucket/x"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def strict(s3, server):
    """The server refuses credentials that it has not given out."""
    requests.post(f"{server}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    yield
    requests.post(f"{server}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()


@pytest.mark.slow
def test_wrong_credentials_are_told(strict):
    with pytest.raises(UserError, match=r"s3://bucket/x: access is refused.*AWS_ACCESS_KEY_ID"):
        check_reachable(to_location("s3://bucket/x"))


@pytest.mark.slow
def test_a_server_that_is_not_there_is_told(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UserError, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        check_reachable(to_location("s3://bucket/x"))
