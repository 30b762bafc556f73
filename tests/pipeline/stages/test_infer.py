import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model import JointClustering
from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.series import mapped_numbers, mapped_series
from pipeline.runtime.dask.executor import OnDask
from pipeline.stages.infer.stage import infer, shard_fingerprints
from tests.support.paths import ROOT
from tests.support.small_country import small_config, stamps

SCALE = 100
OUTPUTS = ("label", "confidence", "fpar_filled", "fill_spread")


def objects(store: Path) -> dict[str, str]:
    """Digest of every chunk object of the store."""
    found = {}
    for path in sorted(store.rglob("*")):
        if path.is_file() and path.name != "zarr.json" and path.relative_to(store).parts[0] != "records":
            found[str(path.relative_to(store))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def trained(finished, tmp_path):
    """The finished cube and model, linked into an output folder of the test's own."""
    config = small_config(finished.region.outline.parent, tmp_path, ingest__shard=16, ingest__chunk=8)
    config.year_folder.mkdir(parents=True)
    for name in ("cube.zarr", "model"):
        (config.year_folder / name).symlink_to(finished.year_folder / name)
    return config


def test_labels_by_shard_are_labels_in_one_piece(finished):
    cube, result = stores.open_to_read(finished.cube), stores.open_to_read(finished.map)
    everything = (slice(0, None), slice(0, None))
    series, mask = mapped_series(cube, everything)
    torch.set_num_threads(1)
    whole = JointClustering.load(finished.model).infer(series)
    read = {name: layout.array(result, name)[:] for name in OUTPUTS}
    np.testing.assert_array_equal(read["label"][mask], whole.labels)
    assert np.abs(read["confidence"][mask] / SCALE - whole.proba.max(axis=1)).max() <= 0.5 / SCALE + 1e-5
    filled = np.clip(whole.filled[..., 0], 0, 1)
    assert np.abs(read["fpar_filled"][:, mask].T / SCALE - filled).max() <= 0.5 / SCALE + 1e-5
    assert all((values[..., ~mask] == 255).all() for values in read.values())


def test_observed_cells_are_untouched_and_nothing_is_left_missing(finished):
    cube, result = stores.open_to_read(finished.cube), stores.open_to_read(finished.map)
    mask = layout.array(cube, "mask")[:] == 1
    fpar, filled, spread = (
        layout.array(group, name)[:][:, mask]
        for group, name in ((cube, "fpar"), (result, "fpar_filled"), (result, "fill_spread"))
    )
    observed = fpar != 255
    np.testing.assert_array_equal(filled[observed], fpar[observed])
    assert filled.max() <= 100
    assert (spread[observed] == 0).all()
    assert spread[~observed].max() <= 100


def test_a_notebook_reads_the_map(finished):
    data = xr.open_zarr(finished.map, consolidated=False)
    assert data.label.attrs["flag_meanings"] == "winter summer"
    assert data.fpar_filled.dims == ("time", "y", "x")
    assert float(data.fpar_filled.max()) <= 1
    assert data.attrs["complete"]
    assert set(np.unique(data.label.values[~np.isnan(data.label.values)])) == {0, 1}


def test_on_dask_the_bytes_are_the_same(finished, trained):
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert infer(trained, OnDask(client)).fresh
    assert objects(trained.map) == objects(finished.map)


def test_a_killed_infer_goes_on_and_ends_with_the_same_bytes(finished, trained):
    """A process is killed with SIGKILL in the middle, several times; what it had finished is not done again."""
    script = (
        "import sys, time; from pathlib import Path; from tests.support.small_country import small_config\n"
        "from pipeline.stages.infer.stage import infer; from pipeline.cube import stores\n"
        "write = stores.write_shard\n"
        "def slowly(*a): write(*a); print('wrote', flush=True); time.sleep(0.02)\n"
        "stores.write_shard = slowly\n"
        "config = small_config(Path(sys.argv[1]), Path(sys.argv[2]), ingest__shard=16, ingest__chunk=8)\n"
        "infer(config)\n"
    )
    arguments = [str(finished.region.outline.parent), str(trained.out)]
    for objects_to_wait_for in (3, 6, 9):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            cwd=ROOT,
        )
        assert process.stdout is not None
        for _ in range(objects_to_wait_for):
            assert process.stdout.readline() == b"wrote\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert not stores.open_to_read(trained.map).attrs["complete"]
    with pytest.raises(UserError, match="sitscube infer"):
        stores.require(trained.map, "infer", "infer")
    done = objects(trained.map)
    grid = layout.read_grid(stores.open_to_read(trained.map))
    method = str(stores.stage_method(stores.open_to_read(trained.map), "infer"))
    marks = shard_fingerprints(stores.open_to_read(trained.cube), method, grid.shards)
    left = stores.shards_to_do(trained.map, "infer", marks, OUTPUTS, grid)
    assert 0 < len(left) < len(grid.shards)
    before = time.time_ns()
    assert infer(trained).facts["shards"] == len(left)
    assert objects(trained.map) == objects(finished.map)
    kept = [name for name in done if (trained.map / name).stat().st_mtime_ns < before]
    assert len(kept) >= 4 * (len(grid.shards) - len(left))
    assert not infer(trained).fresh


def test_another_model_makes_another_map(trained, finished, tmp_path):
    assert infer(trained).fresh
    model = trained.model
    model.unlink()
    estimator = JointClustering.load(finished.model)
    with torch.no_grad():
        estimator.model_.centres += 0.1
    estimator.save(model)
    (model / "training.json").write_text((finished.model / "training.json").read_text())
    assert infer(trained).fresh


def test_without_a_model_the_message_says_what_to_run(trained):
    trained.model.unlink()
    with pytest.raises(UserError, match="sitscube train"):
        infer(trained)


def test_a_damaged_model_is_refused(trained, finished):
    trained.model.unlink()
    trained.model.mkdir()
    for path in finished.model.iterdir():
        (trained.model / path.name).write_bytes(path.read_bytes())
    weights = trained.model / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="sitscube train"):
        infer(trained)


def with_outputs(config, *outputs):
    return config.model_copy(update={"inference": config.inference.model_copy(update={"outputs": outputs})})


def test_outputs_that_are_switched_off_are_not_written_and_the_others_do_not_change(finished, trained):
    assert infer(with_outputs(trained, "label", "spread")).fresh
    assert stores.layer_names(stores.open_to_read(trained.map)) == {"label", "fill_spread"}
    full = objects(finished.map)
    assert objects(trained.map).items() <= full.items()
    assert not infer(with_outputs(trained, "spread", "label")).fresh


def test_an_output_that_is_switched_on_later_is_added_and_one_that_is_switched_off_removed(finished, trained):
    infer(with_outputs(trained, "label"))
    assert infer(trained).fresh
    assert objects(trained.map) == objects(finished.map)
    kept = stamps(trained.map / "label" / "c")
    assert infer(with_outputs(trained, "label", "confidence")).fresh  # nothing to compute: two arrays are removed
    assert stores.layer_names(stores.open_to_read(trained.map)) == {"label", "confidence"}
    assert stamps(trained.map / "label" / "c") == kept
    assert stores.open_to_read(trained.map).attrs["complete"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 45), st.integers(1, 12)), max_size=3))
def test_only_chunks_between_mapped_cells_are_read_and_all_these_cells(finished, blocks):
    cube = stores.open_to_read(finished.cube)
    grid, channels = layout.read_grid(cube), read_channels(cube)
    mask = np.zeros(grid.shape, np.uint8)
    for i, j, size in blocks:
        mask[i : i + size, j : j + size] = 1
    windows = []

    def read(group, name, window):
        if name == "mask":
            return mask[window]
        windows.append(window)
        return np.asarray(layout.array(group, name)[..., window[0], window[1]])

    everything = (slice(0, grid.shape[0]), slice(0, grid.shape[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.cube.series.stores.read_window", read)
        numbers, found = mapped_numbers(cube, everything, channels)
    np.testing.assert_array_equal(found, mask == 1)
    np.testing.assert_array_equal(numbers["fpar"], layout.array(cube, "fpar")[:][:, mask == 1])
    rows_with_cells = {i // grid.chunk for i in np.flatnonzero(mask.any(axis=1))}
    assert {rows.start // grid.chunk for rows, _ in windows} == rows_with_cells
    for rows, columns in windows:
        inside = np.flatnonzero(mask[rows].any(axis=0))
        assert columns.start <= inside[0] < columns.start + grid.chunk
        assert columns.stop - grid.chunk <= inside[-1] < columns.stop + grid.chunk
