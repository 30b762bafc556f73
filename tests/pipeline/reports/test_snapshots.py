"""Snapshots of the training, with what the stores say of their cells."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.reports.snapshots import SAMPLE, NoSnapshots, Snapshots, read_cells, read_snapshots
from tests.support.snapshot_examples import make_snapshots


@pytest.fixture
def cells(finished):
    """Return row and column of 12 mapped cells of several shards, in no order."""
    row, column = np.nonzero(layout.array(stores.open_to_read(finished.map), "label")[:] != layout.MISSING)
    chosen = np.random.default_rng(0).choice(len(row), 12, replace=False)
    return row[chosen], column[chosen]


def look_up(finished, folder, snapshots, *, with_reference=True):
    estimator = SimpleNamespace(history_={} if snapshots is None else {"snapshots": snapshots})
    stored = [stores.open_to_read(path) for path in (finished.cube, finished.map, finished.reference_grid)]
    return read_snapshots(estimator, folder, stored[0], stored[1], stored[2] if with_reference else None)


def test_labels_seasons_and_observations_are_those_of_the_watched_cells(finished, cells, tmp_path):
    np.savez(tmp_path / SAMPLE, row=cells[0], column=cells[1])
    snapshots = make_snapshots(n_watched=6, n_curves=4, n_dates=46)
    found = look_up(finished, tmp_path, snapshots)
    assert isinstance(found, Snapshots)
    label, season, fpar = (
        layout.array(stores.open_to_read(path), name)[:]
        for path, name in ((finished.map, "label"), (finished.reference_grid, "season"), (finished.cube, "fpar"))
    )
    for w in range(6):
        at = cells[0][2 * w], cells[1][2 * w]
        assert found.labels[w] == label[at]
        assert found.seasons[w] == season[at]
        if w < 4:
            given = fpar[:, *at]
            np.testing.assert_allclose(
                found.series[w, :, 0], np.where(given == 255, np.nan, given / 100), rtol=0, atol=1e-7
            )
    assert found.series.shape == (4, 46, 1)
    assert found.snapshots["rows"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found.snapshots["curve_rows"].tolist() == [0, 1, 2, 3]
    assert found.snapshots["embedding"] is snapshots["embedding"]


def test_without_a_reference_there_are_no_seasons(finished, cells, tmp_path):
    np.savez(tmp_path / SAMPLE, row=cells[0], column=cells[1])
    found = look_up(finished, tmp_path, make_snapshots(n_dates=46), with_reference=False)
    assert isinstance(found, Snapshots)
    assert found.seasons is None


def test_a_model_without_snapshots_says_so(finished, cells, tmp_path):
    np.savez(tmp_path / SAMPLE, row=cells[0], column=cells[1])
    assert look_up(finished, tmp_path, None) == NoSnapshots("the model was trained without keeping snapshots")


def test_a_model_without_the_cells_of_its_sample_says_so(finished, tmp_path):
    found = look_up(finished, tmp_path, make_snapshots(n_dates=46))
    assert isinstance(found, NoSnapshots)
    assert "sample.npz" in found.reason


@pytest.mark.parametrize("what", ["too few cells", "outside the grid", "not mapped", "other dates"])
def test_snapshots_of_another_cube_are_not_shown(finished, cells, tmp_path, what):
    row, column = cells
    if what == "too few cells":
        row, column = row[:10], column[:10]  # series 10 has snapshots
    elif what == "outside the grid":
        row = np.where(np.arange(12) == 11, 1000, row)
    elif what == "not mapped":
        empty = np.argwhere(layout.array(stores.open_to_read(finished.map), "label")[:] == layout.MISSING)[0]
        row, column = np.where(np.arange(12) == 4, empty[:, None], np.stack(cells))
    np.savez(tmp_path / SAMPLE, row=row, column=column)
    found = look_up(finished, tmp_path, make_snapshots(n_dates=45 if what == "other dates" else 46))
    assert isinstance(found, NoSnapshots)
    assert "another cube" in found.reason


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", "no columns", "objects", "one array", "two dimensions"])
def test_a_damaged_sample_is_named(finished, tmp_path, content):
    path = tmp_path / SAMPLE
    if content == "no columns":
        np.savez(path, row=[1])
    elif content == "objects":
        np.savez(path, row=np.array([{}], object), column=np.array([1]))
    elif content == "one array":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif content == "two dimensions":
        np.savez(path, row=np.zeros((2, 2), int), column=np.zeros((2, 2), int))
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"sample\.npz is damaged .* run `sitscube train` again"):
        look_up(finished, tmp_path, make_snapshots(n_dates=46))


def test_numbers_of_single_cells_are_those_of_the_whole_array(finished, cells):
    for path, name in ((finished.map, "label"), (finished.cube, "fpar")):
        group = stores.open_to_read(path)
        np.testing.assert_array_equal(read_cells(group, name, *cells), layout.array(group, name)[:][..., *cells])


def test_a_damaged_store_is_named(finished, cells, tmp_path):
    import shutil

    copy = tmp_path / "cube.zarr"
    shutil.copytree(finished.cube, copy)
    for path in (copy / "fpar" / "c").rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(UserError, match=r"cube\.zarr is damaged in fpar"):
        read_cells(stores.open_to_read(copy), "fpar", *cells)
