"""Tests of the cluster cube, to which years are added one at a time."""

import shutil
import threading
import uuid
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline.base.errors import UserError
from pipeline.base.locations import keys_below, to_location
from pipeline.cube import append, clusters, layout, stores
from pipeline.cube.clusters import STAGE, add_year, map_fingerprint, maps_of, published, years_to_write
from tests.support.cluster_maps import make_map, numbers, year_config
from tests.support.faults import Killed, ended_after, full_disk
from tests.support.small_country import stamps
from tests.support.written import GRID

MANY = 10_000


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    """Return a function that returns another folder of outputs at every call."""

    def place():
        name = uuid.uuid4().hex
        return tmp_path / name if request.param == "disk" else to_location(f"memory://{name}")

    return place


@contextmanager
def killed_after(changes, monkeypatch, fault=Killed):
    """End the writing without releasing the lock, as a killed process does."""
    with monkeypatch.context() as patch:
        patch.setattr(clusters, "hold", lambda config: nullcontext())
        with ended_after(changes, monkeypatch, fault) as done:
            yield done


def add(config):
    add_year(config.outputs, map_fingerprint(stores.open_to_read(config.map)))


def grown(out, *years):
    """Add years to a cube in this order, and return its location."""
    for year in years:
        add(make_map(out, year))
    return out / "small" / "clusters.zarr"


def check(path, *years):
    """Check that a cube has exactly these years, with all of their numbers, and is complete."""
    data = xr.open_zarr(str(path), consolidated=False, mask_and_scale=False)
    assert data.year.values.tolist() == list(years)
    for name in ("label", "confidence"):
        for year in years:
            np.testing.assert_array_equal(data[name].sel(year=year), numbers(year, name))
    assert data.attrs["complete"]
    assert list(maps_of(path)) == list(years)
    assert append.GROWING not in data.attrs


def copied(out, target):
    """Copy a folder of outputs and return the location of the copy."""
    if hasattr(out, "fs"):
        for key in keys_below(out):
            out.fs.cp_file(f"{out.path}/{key}", f"{target.path}/{key}")
    else:
        shutil.copytree(out, target)
    return target


def test_every_year_has_shards_and_chunks_of_its_own(place):
    path = grown(place(), 2018, 2019)
    label = layout.array(stores.open_to_read(path), "label")
    assert label.shards == (1, 8, 8)
    assert label.chunks == (1, 4, 4)
    check(path, 2018, 2019)


def test_a_later_year_leaves_every_object_of_the_others_alone(tmp_path):
    path = grown(tmp_path, 2018, 2019)
    before = {key: stamp for key, stamp in stamps(path).items() if "/c/" in key}
    grown(tmp_path, 2021)
    after = {key: stamp for key, stamp in stamps(path).items() if "/c/" in key}
    assert {key: after[key] for key in before} == before
    assert set(after) > set(before)
    assert all(key.split("/c/")[1].startswith("2") for key in set(after) - set(before))
    check(path, 2018, 2019, 2021)


def test_the_same_map_again_changes_nothing(tmp_path):
    path = grown(tmp_path, 2018, 2019)
    before = stamps(path)
    for year in (2018, 2019):
        add(year_config(tmp_path, year))
    assert stamps(path) == before


def test_an_earlier_year_is_put_before_the_others(place):
    check(grown(place(), 2019, 2021, 2018, 2020), 2018, 2019, 2020, 2021)


def test_another_map_of_a_year_takes_the_place_of_the_first(place):
    out = place()
    path = grown(out, 2018, 2019)
    config = make_map(out, 2018, fingerprint="another")
    group = stores.open_to_write(config.map)
    layout.array(group, "label")[...] = 1
    add(config)
    data = xr.open_zarr(str(path), consolidated=False, mask_and_scale=False)
    assert (data.label.sel(year=2018) == 1).all()
    np.testing.assert_array_equal(data.label.sel(year=2019), numbers(2019, "label"))
    assert published(config.outputs) == {2018: "another", 2019: "map of 2019"}


def test_who_has_the_cube_open_sees_what_it_held(place):
    out = place()
    path = grown(out, 2018)
    opened = xr.open_zarr(str(path), consolidated=False, mask_and_scale=False, chunks=None)
    handle = layout.array(stores.open_to_read(path), "label")
    grown(out, 2019)
    assert opened.year.values.tolist() == [2018]
    np.testing.assert_array_equal(opened.label.sel(year=2018), numbers(2018, "label"))
    np.testing.assert_array_equal(handle[:], numbers(2018, "label")[None])
    check(path, 2018, 2019)


class Reader(threading.Thread):
    """Open and read without a pause; note every wrong number, and the numbers of years that were seen."""

    def __init__(self, path):
        super().__init__()
        self.path, self.over, self.wrong, self.met, self.reads = path, threading.Event(), [], set(), 0
        self.old = layout.array(stores.open_to_read(path), "label")

    def run(self):
        while not self.over.is_set():
            try:
                group = stores.open_to_read(self.path)
                years = layout.array(group, "year")[:].tolist()  # the shape of the axis is the last to grow
                for name in ("label", "confidence"):
                    read = layout.array(stores.open_to_read(self.path), name)[:]
                    self.wrong += [
                        (name, year) for i, year in enumerate(years) if not np.array_equal(read[i], numbers(year, name))
                    ]
                if not np.array_equal(self.old[:][0], numbers(2018, "label")):
                    self.wrong.append("old handle")
                self.met.add(len(years))
                self.reads += 1
            except Exception as error:
                self.wrong.append(error)
                return


def test_a_reader_that_never_rests_meets_no_wrong_number_while_the_cube_grows(place):
    out = place()
    path = grown(out, 2018)
    configs = [make_map(out, year) for year in range(2019, 2023)]
    reader = Reader(path)
    reader.start()
    for config in configs:
        add(config)
        seen = reader.reads
        while reader.is_alive() and reader.reads < seen + 2:
            pass
    reader.over.set()
    reader.join()
    assert not reader.wrong
    assert max(reader.met) == 5
    assert len(reader.met) > 2


@pytest.mark.slow
@pytest.mark.parametrize("years", [(2018, 2019, 2020), (2019, 2020, 2018)], ids=["behind the others", "before them"])
def test_what_a_kill_leaves_anywhere_is_mended_by_the_next_publish(place, monkeypatch, years):
    before = place()
    grown(before, *years[:-1])
    make_map(before, years[-1])
    whole = copied(before, place())
    with killed_after(MANY, monkeypatch) as changes:
        add(year_config(whole, years[-1]))
    assert changes[0] > len(GRID.shards)
    each = 1 if years[-1] == max(years) else 5  # for an earlier year, all of the cube is written again
    for n in range(0, changes[0], each):
        out = copied(before, place())
        with killed_after(n, monkeypatch), pytest.raises(Killed):
            add(year_config(out, years[-1]))
        add(year_config(out, years[-1]))
        check(out / "small" / "clusters.zarr", *sorted(years))
        assert {key.split("/")[0] for key in keys_below(out / "small")} == {*map(str, years), "clusters.zarr"}


def test_a_reader_meets_no_wrong_number_of_a_growth_that_was_killed_anywhere(place, monkeypatch):
    before = place()
    grown(before, 2018)
    make_map(before, 2019)
    n = 0
    while True:
        out = copied(before, place())
        try:
            with killed_after(n, monkeypatch):
                add(year_config(out, 2019))
            break
        except Killed:
            group = stores.open_to_read(out / "small" / "clusters.zarr")
        assert group.attrs["complete"]
        for i, year in enumerate(layout.array(group, "year")[:]):
            for name in ("label", "confidence"):
                np.testing.assert_array_equal(layout.array(group, name)[i], numbers(year, name))
        n += 1
    assert n > len(GRID.shards)


def test_another_year_mends_what_the_kill_of_one_has_left(place, monkeypatch):
    before = place()
    grown(before, 2018)
    for year in (2019, 2020):
        make_map(before, year)
    for n in range(2 * len(GRID.shards) - 1, MANY):  # from the last shard on: nothing of the year can be seen before
        out = copied(before, place())
        try:
            with killed_after(n, monkeypatch):
                add(year_config(out, 2019))
            break
        except Killed:
            add(year_config(out, 2020))
        path = out / "small" / "clusters.zarr"
        check(path, *maps_of(path))  # whichever years these are, they are complete
        assert 2020 in maps_of(path)
    assert n > 2 * len(GRID.shards) + 3


def test_a_full_disk_while_the_cube_grows_is_told_and_the_cube_kept(tmp_path, monkeypatch):
    path = grown(tmp_path, 2018)
    config = make_map(tmp_path, 2019)
    with killed_after(3, monkeypatch, full_disk), pytest.raises(UserError, match=r"cannot write .*clusters\.zarr"):
        add(config)
    check(path, 2018)
    add(config)
    check(path, 2018, 2019)


def old_cube(out, *years):
    """Write a cube as former versions did: all years in one object, one set of label names."""
    config = make_map(out, years[0])
    path = config.clusters
    axes = [layout.Axis("year", np.array(years, np.int32))]
    layers = [
        layout.Layer("label", {"flag_values": [0, 1], "flag_meanings": "winter summer"}, ("year",)),
        layout.Layer("confidence", {}, ("year",)),
    ]
    about = {"simulated": "", "maps": {str(year): f"map of {year}" for year in years}}
    group = stores.create(path, STAGE, "old", GRID, layers, axes=axes, about=about)
    for shard in GRID.shards:
        window = GRID.window(shard)
        for name in ("label", "confidence"):
            data = np.stack([numbers(year, name)[window] for year in years])
            stores.write_shard(group, name, GRID, shard, data)
    stores.finish(group, STAGE, "old")
    return path


def test_a_cube_of_a_former_version_is_made_anew_with_the_next_year(place):
    out = place()
    path = old_cube(out, 2018, 2019)
    assert layout.array(stores.open_to_read(path), "label").shards == (2, 8, 8)
    assert years_to_write(path, 2020) == 3
    grown(out, 2020)
    assert layout.array(stores.open_to_read(path), "label").shards == (1, 8, 8)
    assert layout.attributes(stores.open_to_read(path))["label_names"]["2018"] == "winter summer"
    check(path, 2018, 2019, 2020)
    assert years_to_write(path, 2021) == 1
    assert years_to_write(path, 2019) == 3


def test_labels_that_years_name_differently_are_general_ones_and_told_by_year(place):
    out = place()
    add(make_map(out, 2018, "peak_18_May peak_5_July"))
    path = out / "small" / "clusters.zarr"
    label = layout.array(stores.open_to_read(path), "label")
    assert layout.attributes(label)["flag_meanings"] == "peak_18_May peak_5_July"
    add(make_map(out, 2019, "peak_10_May peak_5_July peak_1_August"))
    group = stores.open_to_read(path)
    about = layout.attributes(layout.array(group, "label"))
    assert about["flag_meanings"] == "cluster_0 cluster_1 cluster_2"
    assert about["flag_values"] == [0, 1, 2]
    assert layout.attributes(group)["label_names"] == {
        "2018": "peak_18_May peak_5_July",
        "2019": "peak_10_May peak_5_July peak_1_August",
    }
    add(make_map(out, 2019, "peak_18_May peak_5_July", fingerprint="another"))
    assert layout.attributes(layout.array(stores.open_to_read(path), "label"))["flag_meanings"].startswith("peak_18")


def test_one_simulated_year_makes_the_cube_a_simulated_one(place):
    out = place()
    path = grown(out, 2018)
    assert layout.attributes(stores.open_to_read(path))["simulated"] == ""
    add(make_map(out, 2019, simulated="yes: a test"))
    assert layout.attributes(stores.open_to_read(path))["simulated"] == "yes: a test"
    grown(out, 2020)
    assert layout.attributes(stores.open_to_read(path))["simulated"] == "yes: a test"


def test_one_shard_of_one_year_is_in_memory_at_a_time(tmp_path, monkeypatch):
    sizes = []
    write = zarr.Array.__setitem__

    def noted(self, selection, value):
        sizes.append(np.asarray(value).size)
        write(self, selection, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", noted)
    grown(tmp_path, 2018, 2020, 2019)
    assert max(sizes) == GRID.shard**2
