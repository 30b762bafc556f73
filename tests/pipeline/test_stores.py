import json

import numpy as np
import odc.geo.xr  # noqa: F401  (gives xarray objects their .odc)
import pytest
import xarray as xr
import zarr
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from pipeline import layout, stores
from pipeline.calendar import composite_dates
from pipeline.errors import UserError
from pipeline.grid import Grid, Shard

GRID = Grid("test", GeoBox((20, 12), from_origin(4_000_000, 2_000_000, 1000, 1000), "EPSG:3035"), 8, 4)
LAYERS = [layout.Layer("fpar", {"scale_factor": 0.01}, ("time",)), layout.Layer("label", {"flag_values": [0, 1]})]


def begin(path, mark="a"):
    return stores.begin(path, "ingest", mark, GRID, LAYERS, axes=[layout.time_axis(composite_dates(2018))])


def position(shape):
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def test_what_is_not_written_reads_as_missing_not_as_class_0(tmp_path):
    group = begin(tmp_path / "a.zarr")
    assert (layout.array(group, "label")[:] == 255).all()
    data = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert np.isnan(data.label).all()


def test_shards_come_back_as_written_at_their_place(tmp_path):
    group = begin(tmp_path / "a.zarr")
    whole = position((46, *GRID.shape))
    for shard in GRID.shards:
        rows, columns = GRID.window(shard)
        stores.write_shard(group, "fpar", GRID, shard, whole[:, rows, columns])
    np.testing.assert_array_equal(layout.array(stores.open_to_read(tmp_path / "a.zarr"), "fpar")[:], whole)


@pytest.mark.parametrize(
    "data", [np.zeros((8, 4), np.uint8), np.zeros((8, 8), np.int16), np.zeros((1, 8, 8), np.uint8)]
)
def test_only_whole_shards_of_the_right_type_are_written(tmp_path, data):
    with pytest.raises(ValueError, match="whole shard"):
        stores.write_shard(begin(tmp_path / "a.zarr"), "label", GRID, Shard(0, 0), data)


def test_an_all_missing_shard_counts_as_done(tmp_path):
    path = tmp_path / "a.zarr"
    group = begin(path)
    stores.write_shard(group, "label", GRID, Shard(1, 0), np.full((8, 8), 255, np.uint8))
    assert Shard(1, 0) not in stores.shards_to_do(path, ["label"], GRID)
    assert len(stores.shards_to_do(path, ["label"], GRID)) == len(GRID.shards) - 1
    assert len(stores.shards_to_do(path, ["label", "fpar"], GRID)) == len(GRID.shards)


def test_the_same_fingerprint_goes_on_another_begins_anew(tmp_path):
    path = tmp_path / "a.zarr"
    stores.write_shard(begin(path, "a"), "label", GRID, Shard(0, 0), position((8, 8)))
    begin(path, "a")
    assert Shard(0, 0) not in stores.shards_to_do(path, ["label"], GRID)
    begin(path, "b")
    assert Shard(0, 0) in stores.shards_to_do(path, ["label"], GRID)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zarr"]


def test_complete_is_said_last_and_by_every_stage(tmp_path):
    path = tmp_path / "a.zarr"
    group = begin(path)
    assert not group.attrs["complete"]
    with pytest.raises(UserError, match="not finished"):
        stores.require(path, "ingest", "ingest")
    stores.finish(group, "ingest", "a")
    assert stores.require(path, "ingest", "ingest").attrs["complete"]
    stores.begin_layers(group, "prepare", "p", GRID, [layout.Layer("mask", {})])
    assert not stores.open_to_read(path).attrs["complete"]
    assert stores.is_finished(stores.find(path), "ingest", "a")
    stores.finish(group, "prepare", "p")
    assert stores.open_to_read(path).attrs["complete"]


def test_layers_of_a_later_stage_are_kept_or_made_anew(tmp_path):
    path = tmp_path / "a.zarr"
    group = begin(path)
    mask = [layout.Layer("mask", {})]
    stores.begin_layers(group, "prepare", "p", GRID, mask)
    stores.write_shard(group, "mask", GRID, Shard(0, 0), position((8, 8)))
    stores.begin_layers(group, "prepare", "p", GRID, mask)
    assert Shard(0, 0) not in stores.shards_to_do(path, ["mask"], GRID)
    stores.begin_layers(group, "prepare", "q", GRID, mask)
    assert Shard(0, 0) in stores.shards_to_do(path, ["mask"], GRID)


def test_what_is_not_ours_is_never_removed(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(path, attributes={"precious": True})
    with pytest.raises(UserError, match="not written by sitscube"):
        begin(path)
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "letter.txt").write_text("dear reader")
    with pytest.raises(UserError, match="in the way"):
        begin(tmp_path / "b.zarr")
    assert zarr.open_group(path, mode="r").attrs["precious"]
    assert (tmp_path / "b.zarr" / "letter.txt").exists()


def test_a_template_that_was_killed_is_not_taken_for_a_store(tmp_path):
    left = tmp_path / ".a.zarr.partial"
    left.mkdir()
    (left / "zarr.json").write_text(json.dumps({"half": "written"}))
    assert stores.find(tmp_path / "a.zarr") is None
    begin(tmp_path / "a.zarr")
    assert not left.exists()


def test_strays_of_killed_writers_are_swept(tmp_path):
    path = tmp_path / "a.zarr"
    begin(path)
    stray = path / "label" / "c" / "0" / "0.abc.partial"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    begin(path)
    assert not stray.exists()


def test_a_swap_that_was_killed_is_mended(tmp_path):
    path = tmp_path / "a.zarr"
    begin(path)
    path.rename(tmp_path / ".a.zarr.discarded")
    stores.recover(path)
    assert stores.stage_fingerprint_at(path, "ingest") == "a"


def test_the_grid_comes_back_from_the_store(tmp_path):
    assert layout.read_grid(begin(tmp_path / "a.zarr")) == GRID


def test_xarray_and_odc_read_dates_places_and_crs(tmp_path):
    begin(tmp_path / "a.zarr")
    data = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
    assert str(data.time.values[45])[:10] == "2018-12-27"
    assert (data.x.values[0], data.y.values[0]) == (4_000_500, 1_999_500)
    assert data.label.odc.geobox == GRID.geobox
    assert data.label.odc.crs.epsg == 3035
    assert data.attrs["proj:code"] == "EPSG:3035"
