import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from distributed import Client, LocalCluster

from pipeline.runtime.dask.executor import OnDask
from pipeline.stages.change.stage import change, change_folder, read_change
from tests.support.paths import ROOT
from tests.support.small_change import SIDE, make_config, write_clusters, write_reference
from tests.support.small_country import objects

YEARS = (2018, 2021)
SCRIPT = """
import sys, time
from pathlib import Path
from tests.support.small_change import make_config
from pipeline.cube import stores
from pipeline.stages.change.stage import change

write = stores.write_shard
def slowly(*a):
    write(*a)
    print("wrote", flush=True)
    time.sleep(0.02)
stores.write_shard = slowly
change(make_config(Path(sys.argv[1])), (2018, 2021))
"""


def made_years(out):
    config = make_config(out)
    rng = np.random.default_rng(3)
    labels = {year: rng.choice([0, 1, 255], (SIDE, SIDE)) for year in YEARS}
    write_clusters(config, labels)
    for year in YEARS:
        write_reference(config, year, np.where(rng.random((SIDE, SIDE)) < 0.8, labels[year], 255))
    return config


@pytest.fixture
def config(tmp_path):
    return made_years(tmp_path / "killed")


@pytest.fixture
def expected(tmp_path):
    config = made_years(tmp_path / "whole")
    facts = change(config, YEARS).facts
    return facts, objects(change_folder(config, YEARS) / "change.zarr")


def test_a_killed_change_goes_on_where_it_was_and_ends_with_the_same_bytes(config, expected):
    store = change_folder(config, YEARS) / "change.zarr"
    for n_objects in (3, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(config.out)],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        assert process.stdout is not None
        for _ in range(n_objects):
            assert process.stdout.readline() == b"wrote\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert read_change(config, YEARS) is None
    done = {name: (store / name).stat().st_mtime_ns for name in objects(store)}
    assert change(config, YEARS).facts == expected[0]
    assert objects(store) == expected[1]
    kept = [name for name, written in done.items() if (store / name).stat().st_mtime_ns == written]
    assert len(kept) >= len(done) - 2  # a shard has two objects, and at most one was being written


def test_on_dask_numbers_and_bytes_are_the_same(config, expected):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert change(config, YEARS, OnDask(client)).facts == expected[0]
    assert objects(change_folder(config, YEARS) / "change.zarr") == expected[1]
