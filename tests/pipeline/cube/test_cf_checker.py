"""Tests of the attributes of every store by a checker of the CF conventions, through NetCDF."""

import numpy as np
import odc.geo.xr  # registers .odc
import pytest
import rioxarray  # registers .rio
import xarray as xr
from compliance_checker.cf.cf_1_11 import CF1_11Check
from compliance_checker.runner import CheckSuite

from pipeline.cube import layout, stores
from pipeline.reports.products.netcdf import write_netcdf

STORES = ("cube", "map", "reference_grid", "clusters")
ACCEPTED = (
    "Variable is not of type byte, short, or int as required for different type add_offset/scale_factor.",  # are uint8
)


def findings(path):
    """Return the messages of the checker by weight: 3 high, 2 medium, 1 low."""
    suite = CheckSuite()
    suite.checkers = {"cf:1.11": CF1_11Check}
    with suite.load_dataset(str(path)) as data:
        groups, errors = suite.run_all(data, ["cf:1.11"])["cf:1.11"]
    assert not errors
    said = {1: [], 2: [], 3: []}
    for group in groups:
        if group.value[0] < group.value[1]:
            said[group.weight] += group.msgs
    return said


@pytest.mark.filterwarnings("ignore")  # the checker's own
@pytest.mark.parametrize("name", STORES)
def test_a_checker_of_cf_finds_nothing_wrong_in_a_store(finished, tmp_path, name):
    group = stores.open_to_read(getattr(finished, name))
    write_netcdf(tmp_path / "all.nc", [(group, sorted(stores.layer_names(group)))])
    said = findings(tmp_path / "all.nc")
    assert said[3] == []
    assert [text for text in said[2] + said[1] if not any(known in text for known in ACCEPTED)] == []


@pytest.mark.filterwarnings("ignore")
def test_the_checker_does_find_what_is_wrong(finished, tmp_path):
    group = stores.open_to_read(finished.map)
    write_netcdf(tmp_path / "map.nc", [(group, ["label"])])
    with xr.open_dataset(tmp_path / "map.nc", decode_cf=False) as data:
        data.label.attrs["flag_values"] = np.array([0, 1], np.int64)
        data.to_netcdf(tmp_path / "wrong.nc")
    assert any("flag_values" in text for text in findings(tmp_path / "wrong.nc")[3])


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")  # in rioxarray
@pytest.mark.parametrize("name", STORES)
def test_rioxarray_and_odc_read_crs_and_transform_of_every_store(finished, name):
    assert rioxarray
    assert odc.geo.xr
    path = getattr(finished, name)
    geobox = layout.read_grid(stores.open_to_read(path)).geobox
    data = xr.open_zarr(path, consolidated=False)
    assert data.rio.crs.to_epsg() == 3035
    assert data.rio.transform() == geobox.transform
    for array in data.data_vars.values():
        assert array.rio.crs.to_epsg() == 3035
        assert array.odc.geobox == geobox
