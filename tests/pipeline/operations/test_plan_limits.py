"""What does not fit is refused, by the plan and by the stages, with what to change."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.synthetic_cube import make_cube, make_model, make_outline
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.config.config import load_config
from pipeline.cube import disk_space as disk
from pipeline.cube import layout, stores
from pipeline.grid.grid import cells_inside, make_grid
from pipeline.grid.polygons import inside, read_outline
from pipeline.operations.plan.plan import make_plan
from pipeline.runtime.executor import Capacity, InProcess
from pipeline.stages import memory
from pipeline.stages.infer.stage import infer
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.memory import Work, check_tasks, infer_bytes, ingest_bytes, prepare_bytes, worker_bytes
from pipeline.stages.prepare import prepare
from tests.support.small_country import small_config

FORMULAS = (ingest_bytes, prepare_bytes, infer_bytes)
CLUSTER = Capacity(scheduler="tcp://there", workers=4, gpu_workers=0, threads=4)
TEN_METRES = Work(shard=2048, cells=2048**2, mapped_share=1.0, n_dates=46, item_sizes=(1,))
Usage = namedtuple("Usage", "total used free")


class Elsewhere(InProcess):
    """Works here and describes a cluster."""

    def __init__(self, **about):
        super().__init__()
        self.about = replace(CLUSTER, **about)

    def describe(self):
        return self.about


def full_disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - free, free))


@pytest.mark.parametrize("formula", FORMULAS)
@given(st.integers(1, 32), st.floats(0, 1), st.integers(1, 400), st.integers(1, 8))
def test_more_work_never_takes_less_memory(formula, chunks, share, n_dates, n_channels):
    work = Work(chunks * 64, (chunks * 64) ** 2, share, n_dates, (1,) * n_channels)
    larger = [
        replace(work, cells=work.cells * 2),
        replace(work, mapped_share=(share + 1) / 2),
        replace(work, n_dates=n_dates + 1),
        replace(work, item_sizes=(2,) * n_channels),
        replace(work, item_sizes=(1,) * (n_channels + 1)),
        replace(work, strip_width=2),
        replace(work, pixels_per_cell=9.0),
    ]
    assert all(formula(one) >= formula(work) for one in larger)


def test_at_ten_metres_a_task_of_infer_stays_under_three_gigabytes():
    assert infer_bytes(TEN_METRES) < 3e9


@pytest.mark.parametrize(("stage", "formula"), list(zip(("ingest", "prepare", "infer"), FORMULAS, strict=True)))
def test_the_shard_that_a_refusal_names_fits_and_the_next_one_does_not(stage, formula):
    where = replace(CLUSTER, memory_limit=1_000_000_000)
    with pytest.raises(UserError, match=stage) as refusal:
        check_tasks(stage, formula, TEN_METRES, 128, where)
    shard = int(str(refusal.value).split("ingest.shard = ")[1].split(",")[0].split()[0])
    assert shard % 128 == 0
    check_tasks(stage, formula, replace(TEN_METRES, shard=shard, cells=shard**2), 128, where)
    with pytest.raises(UserError):
        check_tasks(stage, formula, replace(TEN_METRES, shard=shard + 128, cells=(shard + 128) ** 2), 128, where)


def test_threads_of_a_worker_share_its_memory():
    one, four = (replace(CLUSTER, workers=n, memory_limit=3_000_000_000) for n in (4, 1))
    check_tasks("infer", infer_bytes, TEN_METRES, 128, one)
    with pytest.raises(UserError, match=r"4 threads.*--nthreads 1"):
        check_tasks("infer", infer_bytes, TEN_METRES, 128, four)
    task = infer_bytes(TEN_METRES)
    assert task < worker_bytes(task, four) < 4 * task


def test_a_gpu_worker_needs_the_memory_of_three_shards_that_overlap():
    limit = 2 * infer_bytes(TEN_METRES)
    check_tasks("infer", infer_bytes, TEN_METRES, 128, replace(CLUSTER, memory_limit=limit))
    with pytest.raises(UserError, match="infer: a shard"):
        check_tasks("infer", infer_bytes, TEN_METRES, 128, replace(CLUSTER, memory_limit=limit, gpu_workers=1))


def test_infer_refuses_what_does_not_fit_before_it_begins(finished, tmp_path):
    config = finished.model_copy(update={"out": tmp_path})
    config.year_folder.mkdir(parents=True)
    for name in ("cube.zarr", "model"):
        (config.year_folder / name).symlink_to(finished.year_folder / name)
    with pytest.raises(UserError, match="infer: a shard"):
        infer(config, Elsewhere(workers=1, threads=1, memory_limit=300_000_000), Silent())
    assert not config.map.exists()


def test_where_no_shard_fits_that_is_said():
    with pytest.raises(UserError, match="no shard of whole chunks would fit: give workers more memory"):
        check_tasks("prepare", prepare_bytes, TEN_METRES, 128, replace(CLUSTER, memory_limit=400_000_000))


def test_the_plan_lists_all_that_does_not_fit(config, monkeypatch):
    full_disk(monkeypatch, 20_000)
    settings = config.model_copy(update={"training": config.training.model_copy(update={"device": "cuda"})})
    monkeypatch.setattr("pipeline.runtime.dask.cluster.gpus", lambda: 0)
    plan = make_plan(settings, Elsewhere(workers=1, threads=1, memory_limit=300_000_000), Silent())
    with pytest.raises(UserError) as refusal:
        plan.check()
    text = str(refusal.value)
    for part in ("ingest: a shard", "prepare: a shard", "infer: a shard", "make room for", "training.device is 'cuda'"):
        assert part in text
    assert "Leaving filled and spread out" in text
    assert plan.as_json()["possible"] is False
    assert not config.out.exists()


def test_a_cluster_without_workers_is_a_problem(config):
    plan = make_plan(config, Elsewhere(workers=0, threads=0), Silent(), probe=False)
    assert any("has no workers" in problem for problem in plan.problems)


def test_ingest_and_prepare_refuse_before_the_first_shard(config, monkeypatch):
    small = Elsewhere(workers=1, threads=1, memory_limit=300_000_000)
    with pytest.raises(UserError, match="ingest: a shard of 16 cells"):
        ingest(config, small)
    assert not config.cube.exists()
    with monkeypatch.context() as patch:
        full_disk(patch, 1000)
        with pytest.raises(UserError, match=r"cube.zarr needs about .* are free: make room"):
            ingest(config)
    ingest(config)
    with pytest.raises(UserError, match="prepare: a shard of 16 cells"):
        prepare(config, small)
    with monkeypatch.context() as patch:
        full_disk(patch, 100)
        with pytest.raises(UserError, match="make room"):
            prepare(config)
    assert prepare(config).fresh


def test_what_is_done_needs_no_room(finished, monkeypatch):
    full_disk(monkeypatch, 0)
    assert make_plan(finished, InProcess(), Silent()).problems == []
    assert not ingest(finished).fresh
    assert not prepare(finished).fresh


def test_the_projection_of_the_disk_follows_what_is_written(finished):
    """Project with the ratios of finished shards: doing them again adds nothing."""
    group = stores.open_to_read(finished.map)
    grid = layout.read_grid(group)
    cells = dict.fromkeys(grid.shards, 10)
    layer = layout.Layer("fpar_filled", {}, ("time",))
    some = grid.shards[:2]
    written = disk.stored_bytes(finished.map, "fpar_filled")
    assert set(written) == set(grid.shards)
    ratio = sum(written.values()) / (46 * 10 * len(grid.shards))
    assert disk.known_ratios(finished.map, grid, cells)["fpar_filled"] == pytest.approx(ratio)
    elsewhere = finished.map.with_name("other.zarr")
    like = {"fpar_filled": ratio}
    adds = disk.added_bytes(elsewhere, [layer], 46, grid, cells, some, like)
    assert adds["fpar_filled"] == pytest.approx(ratio * 46 * 20, rel=0.2)
    small = dict.fromkeys(grid.shards, 0)
    assert disk.added_bytes(finished.map, [layer], 46, grid, small, some)["fpar_filled"] == 0


def test_cells_in_the_region_are_counted_by_area(country):
    outline = read_outline(country / "outline.geojson")
    grid = make_grid("epsg3035-1km", outline, 16, 8)
    by_area = cells_inside(grid, outline)
    for shard in grid.shards:
        # an edge that runs along the cells may count a row of them or not
        assert abs(by_area[shard] - inside(grid.shard_geobox(shard), outline).sum()) <= grid.shard
    assert sum(by_area.values()) == pytest.approx(inside(grid.geobox, outline).sum(), rel=0.03)


def test_free_room_is_that_of_the_folder_that_will_hold_it(tmp_path):
    deep = tmp_path / "not" / "yet" / "there"
    assert disk.free_bytes(deep) == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.01)
    assert disk.free_bytes(load_config(out="memory://x").out) is None


_TASK = """
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from pipeline.runtime import per_process
from pipeline.config.config import load_config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.map_layers import map_layers
from pipeline.cube.shard_writer import ShardWriter
from pipeline.cube.trained_model import load_model
from pipeline.stages import prepare
from pipeline.stages.infer.stage import InferTask

stage, out = sys.argv[1], Path(sys.argv[2])
config = load_config(out=out, region__outline=out / "outline.geojson")
cube = stores.open_to_read(config.cube)
grid, channels = layout.read_grid(cube), read_channels(cube)
if stage == "infer":
    arrays = map_layers(("winter", "summer"), channels, config.inference.outputs)
    stores.begin(config.map, "infer", "m", grid, arrays, axes=[layout.time_axis(layout.read_dates(cube))])
    per_process.make("model", partial(load_model, config.model), "cpu")
    InferTask(config.cube, ShardWriter(config.map, "infer", "m"), "m", arrays, "model", None)(grid.shards[0])
else:
    stores.begin_layers(config.cube, "prepare", "m", grid, prepare.layers(channels))
    writer = ShardWriter(config.cube, "prepare", "m")
    prepare.prepare_shard(grid.shards[0], config=config, cropland="all", writer=writer, method="m")
# not ru_maxrss, in which the process that started this one is counted too
(peak,) = (line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(1024 * int(peak))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in other units elsewhere")
def test_real_tasks_stay_below_the_projection_and_near_it(tmp_path):
    config = load_config(out=tmp_path)
    grid = make_cube(config, 1, 1024, mapped_share=0.5)
    make_outline(grid, tmp_path / "outline.geojson")
    make_model(config)
    mapped = layout.array(stores.open_to_read(config.cube), "mask")[:].mean()
    work = Work(1024, 1024**2, float(np.asarray(mapped)), 46, (1,))
    for stage, formula in (("infer", infer_bytes), ("prepare", prepare_bytes)):
        done = subprocess.run(
            [sys.executable, "-c", _TASK, stage, str(tmp_path)],
            check=True,
            capture_output=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        peak = int(done.stdout)
        assert peak < formula(work) < 1.35 * peak, stage


def test_the_limit_of_a_task_is_the_smallest_workers():
    assert memory.task_limit(replace(CLUSTER, memory_limit=7)) == 7
    assert memory.task_limit(InProcess().describe()) > 1e8


def test_a_smaller_country_than_a_shard_takes_its_own_size(country):
    config = small_config(country, country / "unused", ingest__shard=2048)
    grid = make_grid(config.ingest.grid, read_outline(config.region.outline), 2048, 128)
    work = memory.work_of(grid, (), 46, dict.fromkeys(grid.shards, 10**9))
    assert work.cells == grid.shape[0] * grid.shape[1]
    assert work.mapped_share == 1.0
