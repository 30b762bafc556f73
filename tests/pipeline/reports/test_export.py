"""Layers of a year in files for other software."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import rasterio
import xarray as xr
from rio_cogeo import cog_validate
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.base.locations import to_location
from pipeline.base.progress import Silent
from pipeline.cli import commands as cli
from pipeline.cube import layout, stores
from pipeline.grid.polygons import Region
from pipeline.reports.products.areas_table import areas_csv
from pipeline.reports.products.export import export_year
from tests.support.faults import ended_after, full_disk


def stored(config, store, name):
    return layout.array(stores.open_to_read(getattr(config, store)), name)[:]


def test_a_layer_becomes_a_geotiff_with_its_numbers_and_its_place(finished, tmp_path):
    (path,) = export_year(finished, tmp_path, "geotiff", ["n_observed"])
    assert path.name == "sitscube_small_2018_n_observed.tif"
    assert cog_validate(path) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), stored(finished, "cube", "n_observed"))
        assert file.crs.to_epsg() == 3035
        assert file.transform == layout.read_grid(stores.open_to_read(finished.map)).geobox.transform
        assert file.nodata == 255


def test_the_dates_of_a_series_are_bands_that_say_so(finished, tmp_path):
    (path,) = export_year(finished, tmp_path, "geotiff", ["fpar_filled"])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), stored(finished, "map", "fpar_filled"))
        assert file.descriptions[:2] == ("2018-01-01", "2018-01-09")
        assert file.count == 46
        assert set(file.scales) == {0.01}


def test_label_and_confidence_are_what_is_exported_unless_layers_are_named(finished, tmp_path):
    names = [path.name for path in export_year(finished, tmp_path, "geotiff")]
    assert names == ["sitscube_small_2018_label.tif", "sitscube_small_2018_confidence.tif"]


def test_netcdf_holds_the_year_in_the_numbers_of_the_stores(finished, tmp_path):
    (path,) = export_year(finished, tmp_path, "netcdf")
    with xr.open_dataset(path, mask_and_scale=False) as data:
        for store, names in (("map", ("label", "confidence", "fpar_filled", "fill_spread")), ("cube", ("fpar",))):
            for name in names:
                np.testing.assert_array_equal(data[name], stored(finished, store, name))
        assert str(data.time.values[1])[:10] == "2018-01-09"
        assert data.label.attrs["flag_values"].dtype == np.uint8
        assert data.label.attrs["flag_meanings"] == "winter summer"
        assert data.attrs["Conventions"] == "CF-1.11"
        assert json.loads(data.attrs["stages"])["infer"]["complete"]
        assert data.label.encoding["zlib"]
    with xr.open_dataset(path) as data:
        assert np.nanmax(data.fpar) <= 1
        assert np.isnan(data.label.values).any()


def areas(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_table_gives_areas_of_every_label_by_region(finished, tmp_path):
    halves = {"west": box(8.9, 44.9, 9.25, 45.5), "east": box(9.25, 44.9, 9.6, 45.5)}
    features = [{"type": "Feature", "properties": {"name": k}, "geometry": mapping(v)} for k, v in halves.items()]
    (tmp_path / "halves.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    evaluation = finished.evaluation.model_copy(update={"regions": tmp_path / "halves.geojson"})
    (path,) = export_year(finished.model_copy(update={"evaluation": evaluation}), tmp_path, "csv")
    rows = areas(path)
    assert [(row["region"], row["name"]) for row in rows] == [
        (region, name) for region in ("west", "east", "small") for name in ("winter", "summer")
    ]
    label, confidence = stored(finished, "map", "label"), stored(finished, "map", "confidence")
    for k, row in enumerate(rows[4:]):
        assert int(row["cells"]) == (label == k).sum() == int(rows[k]["cells"]) + int(rows[2 + k]["cells"])
        assert float(row["area_km2"]) == (label == k).sum()
        assert float(row["mean_confidence_percent"]) == pytest.approx(confidence[label == k].mean(), abs=0.005)
    assert min(int(row["cells"]) for row in rows) > 0


def test_cells_in_no_region_count_for_the_whole_alone(finished):
    far = Region("far", box(20, 40, 21, 41))
    with Silent().track("x", 1) as task:
        text = areas_csv(stores.open_to_read(finished.map), 2018, "small", [far], task)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["cells"] for row in rows[:2]] == ["0", "0"]
    assert rows[0]["mean_confidence_percent"] == ""
    assert sum(int(row["cells"]) for row in rows[2:]) == (stored(finished, "map", "label") != 255).sum()


def test_a_file_is_replaced_only_when_asked_to(finished, tmp_path):
    (path,) = export_year(finished, tmp_path, "csv")
    path.write_text("mine")
    with pytest.raises(UserError, match=r"areas\.csv is there already: give --overwrite"):
        export_year(finished, tmp_path, "csv")
    assert path.read_text() == "mine"
    export_year(finished, tmp_path, "csv", overwrite=True)
    assert path.read_text().startswith("year,region")


def test_an_unknown_layer_is_told_with_those_that_there_are(finished, tmp_path):
    with pytest.raises(UserError, match=r"no layer fparr: choose from confidence, .*label.*n_observed"):
        export_year(finished, tmp_path, "netcdf", ["fpar", "fparr"])
    assert not list(tmp_path.iterdir())


def test_a_year_that_is_not_mapped_is_told(finished, tmp_path):
    with pytest.raises(UserError, match=r"2019/map\.zarr: run `sitscube infer`"):
        export_year(finished.model_copy(update={"year": 2019}), tmp_path, "geotiff")


@pytest.mark.parametrize("kind", ["geotiff", "netcdf"])
def test_a_damaged_map_leaves_nothing_half_written(finished, tmp_path, kind):
    shutil.copytree(finished.out, tmp_path / "out")
    config = finished.model_copy(update={"out": tmp_path / "out"})
    damaged = config.map / "label" / "c" / "1" / "1"
    damaged.write_bytes(damaged.read_bytes()[:-9] + b"123456789")
    target = tmp_path / "to"
    with pytest.raises(UserError, match="damaged in label"):
        export_year(config, target, kind, ["label"])
    assert not list(target.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(finished, tmp_path, monkeypatch):
    with (
        ended_after(0, monkeypatch, full_disk, ((os, "rename"), (os, "replace"))),
        pytest.raises(UserError, match=r"cannot write into .*No space left"),
    ):
        export_year(finished, tmp_path / "to", "geotiff", ["label"])
    assert not list((tmp_path / "to").iterdir())


def test_what_a_killed_export_has_left_is_swept(finished, tmp_path):
    stray = tmp_path / ".sitscube_small_2018_label.tif.0123.partial"
    stray.mkdir()
    (stray / "half").write_text("x")
    (tmp_path / ".another.partial").write_text("not ours")
    export_year(finished, tmp_path, "geotiff", ["label"])
    assert {path.name for path in tmp_path.iterdir()} == {"sitscube_small_2018_label.tif", ".another.partial"}


def test_files_are_put_at_a_url(finished):
    folder = to_location("memory://exported")
    for kind in ("geotiff", "netcdf", "csv"):
        (path,) = export_year(finished, folder, kind, None if kind == "csv" else ["label"])
        assert len(path.read_bytes()) > 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--format", "xlsx"), "choose one of geotiff, netcdf, csv"),
        (("--format", "csv", "--layer", "label"), "leave out --layer"),
        (("--format", "netcdf", "--regions", "x.geojson"), "belongs to --format csv"),
        (("--to", "nowhere://x"), "the protocol nowhere is unknown"),
    ],
)
def test_options_that_make_no_sense_are_refused(finished, tmp_path, monkeypatch, capsys, options, said):
    given = ["sitscube", "export", "--year", "2018", "--out", str(finished.out), "--to", str(tmp_path), *options]
    monkeypatch.setattr("sys.argv", given)
    monkeypatch.setenv("SITSCUBE_REGION__NAME", "small")
    monkeypatch.setenv("SITSCUBE_REGION__OUTLINE", str(finished.region.outline))
    with pytest.raises(SystemExit):
        cli.main()
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_writes_and_says_what(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SITSCUBE_REGION__NAME", "small")
    given = ["export", "--year", "2018", "--out", str(finished.out), "--to", str(tmp_path), "--layer", "label"]
    monkeypatch.setattr("sys.argv", ["sitscube", *given])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "wrote" in capsys.readouterr().err
    assert (tmp_path / "sitscube_small_2018_label.tif").exists()
