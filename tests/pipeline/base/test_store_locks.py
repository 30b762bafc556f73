import subprocess
import sys
import threading
import time

import pytest

from pipeline.base.errors import Superseded, UserError
from pipeline.base.locations import to_location
from pipeline.base.locks import store as fence
from pipeline.cube import layout, stores
from pipeline.grid.grid import Shard
from tests.support.written import GRID, LAYERS, NAMES, begin, do_shard

FIRST = Shard(0, 0)
WRITES = """
import sys
from pathlib import Path
from pipeline.cube import stores

with stores.writing(Path(sys.argv[1]), "ingest", "a"):
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["disk", "memory"])
def path(request, tmp_path):
    return tmp_path / "a.zarr" if request.param == "disk" else to_location(f"memory://{tmp_path.name}/a.zarr")


def refused(path, **what):
    before = stores.read_records(path, "ingest", GRID.shards)
    with pytest.raises(Superseded):
        do_shard(path, FIRST, **what)
    assert stores.read_records(path, "ingest", GRID.shards) == before


def test_a_task_of_an_earlier_run_writes_nothing_into_a_store_begun_anew(path):
    begin(path, "a")
    begin(path, "b")
    refused(path, fingerprint="a")
    do_shard(path, FIRST, fingerprint="b")


def test_a_late_task_writes_nothing_into_a_finished_store(path):
    group = begin(path, "a")
    do_shard(path, FIRST)
    stores.finish(group, "ingest", "a")
    refused(path)


def test_a_task_writes_nothing_where_the_store_is_gone(path):
    begin(path, "a")
    stores.discard(path)
    with pytest.raises(Superseded, match="removed"):
        do_shard(path, FIRST)
    assert stores.find(path) is None


def test_a_later_stage_has_a_mark_of_its_own(path):
    stores.finish(begin(path, "a"), "ingest", "a")
    mask = [layout.Layer("mask", {})]
    stores.begin_layers(path, "prepare", "p", GRID, mask)
    do_shard(path, FIRST, "prepare", "p", ["mask"])
    stores.begin_layers(path, "prepare", "q", GRID, mask)
    refused(path, stage="prepare", fingerprint="p", names=["mask"])


def test_a_run_does_not_finish_what_another_has_begun_anew(path):
    group = begin(path, "a")
    begin(path, "b")
    with pytest.raises(Superseded):
        stores.finish(group, "ingest", "a")
    assert stores.stage_fingerprint_at(path, "ingest") == "b"
    assert not stores.open_to_read(path).attrs["complete"]


def test_a_new_run_waits_for_the_writes_of_an_earlier_one(tmp_path):
    """No object of the old run may get into the store of the new one."""
    path, order = tmp_path / "a.zarr", []
    begin(path, "a")

    def begin_anew():
        begin(path, "b")
        order.append("begun")

    thread = threading.Thread(target=begin_anew)
    with stores.writing(path, "ingest", "a") as group:
        thread.start()
        time.sleep(0.2)
        stores.write_record(group, "ingest", FIRST, {"mark": "a"})
        order.append("written")
    thread.join()
    assert order == ["written", "begun"]
    assert stores.read_records(path, "ingest", GRID.shards) == {}


def test_tasks_write_at_the_same_time(tmp_path):
    path = tmp_path / "a.zarr"
    begin(path)
    with stores.writing(path, "ingest", "a"), stores.writing(path, "ingest", "a"):
        do_shard(path, FIRST)


def test_a_worker_that_does_not_end_is_told_of_and_its_death_frees_the_store(tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    begin(path)
    monkeypatch.setattr(fence, "WAIT", 0.2)
    worker = subprocess.Popen([sys.executable, "-c", WRITES, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == b"writing\n"
        with pytest.raises(UserError, match="still writing"):
            begin(path, "b")
        assert stores.stage_fingerprint_at(path, "ingest") == "a"
    finally:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()
    begin(path, "b")


@pytest.mark.parametrize("method", ["m", "n"])
def test_a_store_kept_for_other_inputs_is_fenced_too(path, method):
    """The shards' records describe their content; tasks of the run before must not write them any more."""

    def begin_with(mark, method):
        return stores.begin(path, "ingest", mark, GRID, LAYERS[1:], method=method)

    begin_with("a", "m")
    do_shard(path, FIRST, names=["label"])
    begin_with("b", method)
    refused(path, fingerprint="a", names=NAMES[1:])
    kept = stores.read_records(path, "ingest", GRID.shards)
    assert (FIRST in kept) == (method == "m")
