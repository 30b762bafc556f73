import json

import numpy as np
import odc.geo.xr  # noqa: F401  (gives xarray objects their .odc)
import pytest
import xarray as xr
import zarr
from upath import UPath

from pipeline.base import accounting
from pipeline.base.errors import UserError
from pipeline.base.files import write_bytes, write_text
from pipeline.base.locations import keys_below, to_location
from pipeline.cube import layout, stores
from pipeline.grid.grid import Shard
from tests.support.written import GRID, LAYERS, begin, do_shard, position

FIRST = Shard(0, 0)


def place(kind, tmp_path):
    return tmp_path / "a.zarr" if kind == "disk" else to_location(f"memory://{tmp_path.name}/a.zarr")


@pytest.fixture(params=["disk", "memory"])
def path(request, tmp_path):
    """Return the path of a store on a disk, and of one at a URL."""
    return place(request.param, tmp_path)


def xarray_of(path):
    return xr.open_zarr(path if not isinstance(path, UPath) else str(path), consolidated=False)


def to_do(path, fingerprint="a", names=("label", "fpar"), stage="ingest"):
    return stores.shards_to_do(path, stage, fingerprint, names, GRID)


def test_what_is_not_written_reads_as_missing_not_as_class_0(path):
    group = begin(path)
    assert (layout.array(group, "label")[:] == 255).all()
    assert np.isnan(xarray_of(path).label).all()


def test_shards_come_back_as_written_at_their_place(path):
    begin(path)
    for shard in GRID.shards:
        do_shard(path, shard)
    whole = position((46, *GRID.shape))
    np.testing.assert_array_equal(layout.array(stores.open_to_read(path), "fpar")[:], whole)
    assert to_do(path) == []


@pytest.mark.parametrize(
    "data", [np.zeros((8, 4), np.uint8), np.zeros((8, 8), np.int16), np.zeros((1, 8, 8), np.uint8)]
)
def test_only_whole_shards_of_the_right_type_are_written(tmp_path, data):
    with pytest.raises(ValueError, match="whole shard"):
        stores.write_shard(begin(tmp_path / "a.zarr"), "label", GRID, FIRST, data)


def test_bytes_at_a_url_are_those_on_a_disk(tmp_path):
    contents = []
    for kind in ("disk", "memory"):
        path = place(kind, tmp_path)
        begin(path)
        do_shard(path, FIRST)
        contents.append({key: (path / key).read_bytes() for key in keys_below(path)})
    assert contents[0] == contents[1]
    assert "fpar/c/0/0/0" in contents[0]


def test_a_shard_is_done_with_all_objects_and_a_record_of_this_run(path):
    begin(path)
    assert to_do(path) == list(GRID.shards)
    do_shard(path, FIRST)
    assert FIRST not in to_do(path)
    assert FIRST in to_do(path, fingerprint="b")
    assert FIRST not in to_do(path, fingerprint=dict.fromkeys(GRID.shards, "a"))
    group = stores.open_to_write(path)
    stores.discard_record(group, "ingest", FIRST)
    assert FIRST in to_do(path)
    stores.discard_record(group, "ingest", FIRST)  # without a record, nothing happens
    stores.write_record(group, "ingest", FIRST, {"mark": "a"})
    assert FIRST not in to_do(path)
    (path / "label" / "c" / "0" / "0").unlink()
    assert FIRST in to_do(path)
    assert FIRST not in to_do(path, names=["fpar"])


def test_an_all_missing_shard_is_written_and_done(path):
    group = begin(path)
    stores.write_shard(group, "label", GRID, Shard(1, 0), np.full((8, 8), 255, np.uint8))
    stores.write_record(group, "ingest", Shard(1, 0), {"mark": "a"})
    assert Shard(1, 0) not in to_do(path, names=["label"])
    assert len(to_do(path, names=["label"])) == len(GRID.shards) - 1


def test_a_damaged_record_means_that_the_shard_is_done_again(path):
    begin(path)
    for content in (b"{", b"[1]", b"\xff"):
        do_shard(path, FIRST)
        write_bytes(path / "records" / "ingest" / f"{FIRST}.json", content)
        assert FIRST in to_do(path)


def test_records_say_what_their_stage_wrote(path):
    group = begin(path)
    stores.write_record(group, "ingest", FIRST, {"mark": "a", "counts": {"x": 2}})
    assert stores.read_records(path, "ingest", GRID.shards) == {FIRST: {"mark": "a", "counts": {"x": 2}}}
    assert stores.read_records(path, "ingest", [FIRST]) == {FIRST: {"mark": "a", "counts": {"x": 2}}}
    assert stores.read_records(path, "ingest", []) == {}
    assert stores.read_records(path, "prepare", GRID.shards) == {}


def test_the_same_fingerprint_goes_on_another_begins_anew(path):
    begin(path, "a")
    do_shard(path, FIRST)
    begin(path, "a")
    assert FIRST not in to_do(path)
    group = begin(path, "b")
    assert to_do(path, "a") == to_do(path, "b") == list(GRID.shards)
    assert (layout.array(group, "label")[:] == 255).all()
    assert not {key for key in keys_below(path) if key.startswith(("label/c", "records/ingest/y"))}


def test_complete_is_said_last_and_by_every_stage(path):
    group = begin(path)
    assert not group.attrs["complete"]
    with pytest.raises(UserError, match="not finished"):
        stores.require(path, "ingest", "ingest")
    stores.finish(group, "ingest", "a")
    assert stores.require(path, "ingest", "ingest").attrs["complete"]
    group = stores.begin_layers(path, "prepare", "p", GRID, [layout.Layer("mask", {})])
    assert not stores.open_to_read(path).attrs["complete"]
    assert stores.is_finished(stores.find(path), "ingest", "a")
    stores.finish(group, "prepare", "p")
    assert stores.open_to_read(path).attrs["complete"]


def test_layers_of_a_later_stage_are_kept_or_made_anew(path):
    begin(path)
    mask = [layout.Layer("mask", {})]

    def left(fingerprint):
        stores.begin_layers(path, "prepare", fingerprint, GRID, mask)
        return to_do(path, fingerprint, ["mask"], "prepare")

    assert FIRST in left("p")
    do_shard(path, FIRST, "prepare", "p", ["mask"])
    assert FIRST not in left("p")
    assert FIRST in left("q")
    assert FIRST not in left("p")  # its shards still have that fingerprint
    mask[0] = layout.Layer("mask", {}, dtype="int16", fill=-1)
    assert FIRST in left("p2")
    assert stores.read_records(path, "prepare", GRID.shards) == {}
    assert layout.array(stores.open_to_read(path), "mask").dtype == "int16"


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


def test_what_is_not_ours_is_never_removed_at_a_url(tmp_path):
    path = place("memory", tmp_path)
    write_text(path / "letter.txt", "dear reader")
    with pytest.raises(UserError, match="in the way"):
        begin(path)
    assert (path / "letter.txt").read_text() == "dear reader"


def test_strays_of_killed_writers_are_no_objects_and_are_swept(tmp_path):
    path = tmp_path / "a.zarr"
    begin(path)
    do_shard(path, FIRST)
    (path / "label/c/0/0").rename(path / "label/c/0/0.abc.partial")
    assert FIRST in to_do(path)
    begin(path)
    assert not list(path.rglob("*.partial"))


def test_a_store_of_an_older_layout_is_made_anew(path):
    group = begin(path, "old")
    group.create_group("records/ingest/y0x0", attributes={"mark": "old"})
    stores.finish(group, "ingest", "old")
    begin(path, "new")
    assert to_do(path, "new") == list(GRID.shards)
    assert "records/ingest/y0x0/zarr.json" not in keys_below(path)


def test_discarding_leaves_nothing_and_takes_what_is_not_there(path):
    stores.discard(path)
    begin(path)
    do_shard(path, FIRST)
    stores.discard(path)
    assert stores.find(path) is None
    assert not keys_below(path)


def test_bytes_are_counted_to_the_task_that_opened_the_store(path):
    begin(path)
    with accounting.accounted() as account:
        do_shard(path, FIRST)
    stored = sum(len((path / key).read_bytes()) for key in ("label/c/0/0", "fpar/c/0/0/0"))
    assert account.bytes_written == stored
    with accounting.accounted() as account:
        stores.read_window(stores.open_to_read(path), "label", (slice(0, 8), slice(0, 8)))
    assert account.bytes_read > len((path / "label/c/0/0").read_bytes())
    assert account.bytes_written == 0


def test_the_grid_comes_back_from_the_store(path):
    assert layout.read_grid(begin(path)) == GRID


def test_xarray_and_odc_read_dates_places_and_crs(path):
    begin(path)
    do_shard(path, FIRST)
    data = xarray_of(path)
    assert str(data.time.values[45])[:10] == "2018-12-27"
    assert (data.x.values[0], data.y.values[0]) == (4_000_500, 1_999_500)
    assert data.label.odc.geobox == GRID.geobox
    assert data.label.odc.crs.epsg == 3035
    assert data.attrs["proj:code"] == "EPSG:3035"


def test_a_store_says_what_lies_there(path):
    begin(path)
    about = json.loads((path / "zarr.json").read_text())["attributes"]
    assert (about["software"], about["complete"]) == ("sitscube", False)
    assert {layer.name for layer in LAYERS} < set(stores.open_to_read(path).array_keys())
