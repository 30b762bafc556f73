"""Tests of `open_year` and `open_clusters`."""

import shutil
import subprocess
import sys
import threading
import time

import dask
import numpy as np
import odc.geo.xr
import pytest
import rioxarray

from pipeline import open_clusters, open_year
from pipeline.base.errors import UserError
from pipeline.base.locations import to_location
from pipeline.cube import append, layout, stores
from pipeline.cube.clusters import add_year, map_fingerprint
from tests.support.cluster_maps import make_map, numbers
from tests.support.written import GRID


def stored(config, store, name):
    return layout.array(stores.open_to_read(getattr(config, store)), name)[:]


def test_a_year_is_one_dataset_in_physical_units(finished):
    data = open_year(finished.out, 2018, "small")
    for store, name in (("cube", "fpar"), ("map", "fpar_filled")):
        numbers_there = stored(finished, store, name)
        expected = np.where(numbers_there == 255, np.nan, numbers_there / 100).astype(np.float32)
        assert data[name].dtype == np.float32
        np.testing.assert_array_equal(data[name].values, expected)
        assert data[name].dims == ("time", "y", "x")
        assert "scale_factor" not in data[name].attrs
    for store, name, there in (
        ("map", "label", "label"),
        ("map", "confidence", "confidence"),
        ("cube", "n_observed", "n_observed"),
        ("reference_grid", "season", "reference_season"),
        ("reference_grid", "code", "reference_code"),
    ):
        assert data[there].dtype == stored(finished, store, name).dtype
        np.testing.assert_array_equal(data[there].values, stored(finished, store, name))
    assert data.label.attrs["flag_meanings"] == "winter summer"
    assert str(data.time.values[0])[:10] == "2018-01-01"


def test_nothing_is_read_before_it_is_asked_for_and_chunks_are_shards(finished):
    data = open_year(finished.out, 2018, "small")
    assert all(dask.is_dask_collection(array.data) for array in data.data_vars.values())
    assert data.fpar.chunksizes["time"] == (46,)
    assert data.fpar.chunksizes["y"][0] == 16
    assert data.sizes == {"time": 46, "y": 50, "x": 50}


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # in rioxarray
def test_the_crs_is_known_to_rioxarray_and_odc(finished):
    assert rioxarray
    assert odc.geo.xr
    geobox = layout.read_grid(stores.open_to_read(finished.map)).geobox
    for data in (open_year(finished.out, 2018, "small"), open_clusters(finished.out, "small")):
        assert data.rio.crs.to_epsg() == 3035
        assert data.label.odc.geobox == geobox


def test_what_is_missing_is_told_with_what_there_is(finished, tmp_path):
    with pytest.raises(UserError, match=r"there is no .*smal: in .*, there are the regions small\."):
        open_year(finished.out, 2018, "smal")
    with pytest.raises(UserError, match=r"2019/cube\.zarr: of small, there are the years 2018\."):
        open_year(str(finished.out), 2019, "small")
    with pytest.raises(UserError, match=r"regions \(none\)"):
        open_clusters(tmp_path)
    shutil.copytree(finished.out, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/small/2018/map.zarr")
    shutil.rmtree(tmp_path / "out/small/clusters.zarr")
    with pytest.raises(UserError, match="2018 of small is not mapped yet: run `sitscube infer"):
        open_year(tmp_path / "out", 2018, "small")
    with pytest.raises(UserError, match="no year of small has been published"):
        open_clusters(tmp_path / "out", "small")


def add(out, year):
    config = make_map(out, year)
    add_year(config.outputs, map_fingerprint(stores.open_to_read(config.map)))
    return config


@pytest.mark.parametrize("where", ["disk", "url"])
def test_all_years_are_opened(tmp_path, where):
    out = tmp_path if where == "disk" else to_location(f"memory://{tmp_path.name}")
    for year in (2018, 2019):
        add(out, year)
    data = open_clusters(str(out), "small")
    assert data.year.values.tolist() == [2018, 2019]
    np.testing.assert_array_equal(data.label.sel(year=2019), numbers(2019, "label"))
    assert data.attrs["label_names"] == {"2018": "winter summer", "2019": "winter summer"}
    assert data.label.chunksizes["year"] == (1, 1)


def test_who_opens_in_the_moment_of_growth_waits_and_gets_the_new_year(tmp_path, monkeypatch):
    add(tmp_path, 2018)
    complete, half = append.complete, threading.Event()

    def slowly(group):
        if append.GROWING in group.attrs:
            label = layout.array(group, "label")
            label.resize((2, *GRID.shape))  # the state of a publication for a moment
            half.set()
            time.sleep(0.3)
        complete(group)

    monkeypatch.setattr(append, "complete", slowly)
    writer = threading.Thread(target=add, args=(tmp_path, 2019))
    writer.start()
    half.wait(10)
    data = open_clusters(tmp_path, "small")
    writer.join()
    assert data.year.values.tolist() == [2018, 2019]
    np.testing.assert_array_equal(data.label.sel(year=2019), numbers(2019, "label"))


def test_a_publication_that_was_cut_short_is_told(tmp_path, monkeypatch):
    config = add(tmp_path, 2018)
    monkeypatch.setattr("pipeline.cube.opening._TRIES", 2)
    stores.open_to_write(config.clusters).update_attributes({append.GROWING: {"axis": "year"}})
    with pytest.raises(UserError, match="run `sitscube publish` again"):
        open_clusters(tmp_path, "small")


def test_importing_the_package_waits_for_nothing_heavy():
    heavy = "[name for name in ('torch', 'dask', 'xarray', 'zarr') if name in sys.modules]"
    code = f"import sys, pipeline; pipeline.open_year if len(sys.argv) > 1 else None; print({heavy})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"
    opened = subprocess.run([sys.executable, "-c", code, "x"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in opened
    with pytest.raises(ImportError):
        from pipeline import open_nothing  # noqa: F401
