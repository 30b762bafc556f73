"""What goes wrong in a shard or on the disk, without any process that dies: the rest is done, and only the rest."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from pipeline.base.errors import ShardsFailed, UserError
from pipeline.cube import stores
from pipeline.grid.grid import Shard
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.executor import Executor, InProcess, Limits
from pipeline.stages.infer.stage import infer
from tests.support.synthetic_country import N_OUTPUTS, SIDE, YEAR, Country, chunks, spoil, strays

N_SHARDS = SIDE**2


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Country:
    return Country.make(tmp_path_factory.mktemp("undisturbed"))


@contextmanager
def on_threads(limits: Limits, workers: int = 1) -> Iterator[Executor]:
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield OnDask(client, limits)


@contextmanager
def in_process(limits: Limits) -> Iterator[Executor]:
    yield InProcess(limits)


@pytest.fixture(params=[in_process, on_threads], ids=["in process", "on Dask"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with request.param(Limits(max_failures=3)) as executor:
        yield executor


def test_a_shard_that_cannot_be_read_is_named_and_done_when_it_is_mended(country, tmp_path, executor):
    config = country.again(tmp_path, own_cube=True)
    spoilt = config.cube / "fpar" / "c" / "0" / "2" / "3"
    content = spoil(spoilt)
    with pytest.raises(ShardsFailed, match=r"y2x3: UserError: .*cube\.zarr is damaged in fpar") as caught:
        infer(config, executor)
    assert list(caught.value.failures) == ["y2x3"]
    expected = country.expected
    written = chunks(config.map)
    assert written == {name: expected[name] for name in expected if not name.endswith("/2/3")}
    assert not stores.open_to_read(config.map).attrs["complete"]
    spoilt.write_bytes(content)
    assert infer(config, executor).fresh
    assert chunks(config.map) == expected
    assert stores.open_to_read(config.map).attrs["complete"]


def test_two_tasks_may_write_the_record_of_one_shard_at_the_same_time(country, tmp_path):
    """So it is when a task of a killed run goes on beside its successor, or a shard is given to a second worker."""
    group, shard = stores.open_to_write(country.again(tmp_path, own_cube=True).cube), Shard(0, 0)

    def write(number: int) -> None:
        for _ in range(200):
            stores.write_record(group, "prepare", shard, {"mark": "same", "cells": {"mask": 1}})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert (
        stores.read_records(tmp_path / "italy" / str(YEAR) / "cube.zarr", "prepare", [shard])[shard]["mark"] == "same"
    )
    assert not strays(tmp_path)


def test_one_failure_more_than_allowed_ends_the_stage_early(country, tmp_path, executor, monkeypatch):
    config = country.again(tmp_path)
    read = stores.read_window

    def failing(group, name, window):
        if name == "fpar":
            raise RuntimeError("made to fail")
        return read(group, name, window)

    with monkeypatch.context() as patched:
        patched.setattr(stores, "read_window", failing)
        with pytest.raises(ShardsFailed, match=f"{N_SHARDS - 4} were not tried") as caught:
            infer(config, executor)
    assert len(caught.value.failures) == 4
    assert infer(config, executor).fresh
    assert chunks(config.map) == country.expected


def test_a_cluster_without_workers_is_not_waited_for_for_ever(country, tmp_path):
    config = country.again(tmp_path)
    with on_threads(Limits(patience=0.5), workers=0) as executor, pytest.raises(UserError, match="worker"):
        infer(config, executor)
    assert infer(config).fresh
    assert chunks(config.map) == country.expected


@contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own at a folder; skips the test where this machine does not let one be mounted."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_once_and_a_larger_one_is_gone_on_with(country, tmp_path, executor, monkeypatch):
    monkeypatch.setattr(
        "pipeline.stages.shard_stage.check_room", lambda *_: None
    )  # others fill the disk once it has been looked at
    disk = tmp_path / "disk"
    with tiny_disk(disk, "1m"):
        config = country.again(disk / "out")
        with pytest.raises(ShardsFailed, match="No space left on device"):
            infer(config, executor)
        assert not strays(config.map)
        expected, partly = country.expected, chunks(config.map)
        assert 0 < len(partly) < N_OUTPUTS * N_SHARDS
        assert partly == {name: expected[name] for name in partly}
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert infer(config, executor).facts["shards"] < N_SHARDS
        assert chunks(config.map) == expected


LIMITED = """\
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from pipeline.cli.commands import main

main()
"""


@pytest.mark.slow
def test_files_that_may_not_grow_so_large_leave_nothing_half_written(country, tmp_path):
    config = country.again(tmp_path)
    sizes = [path.stat().st_size for path in country.config.map.glob("fpar_filled/c/**/*") if path.is_file()]
    limit = sorted(sizes)[-1] - 1  # the largest object of all does not fit
    command = [sys.executable, "-c", LIMITED, str(limit), "infer", "--year", str(YEAR), "--out", str(config.out)]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not strays(config.map)
    assert infer(config).facts["shards"] < N_SHARDS
    assert chunks(config.map) == country.expected
