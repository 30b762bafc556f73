"""The whole job on a real MODIS cube, by way of GeoTIFFs in its own sinusoidal grid."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline.base.progress import Silent
from pipeline.config.config import Config, load_config
from pipeline.runtime.executor import InProcess
from pipeline.stages.run import planned, run
from tests.support import arcachon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not arcachon.CUBE.exists(), reason="the real cube is not in ../shared/data"),
]
FOREST = 1  # IGBP: evergreen needleleaf; the pines of the Landes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, dict[str, np.ndarray]]:
    """The finished run, and its arrays cut to the 81 x 81 pixels of the cube."""
    folder = tmp_path_factory.mktemp("arcachon") / "real"
    arcachon.write_rasters(folder)
    config = load_config(folder / "arcachon.toml", out=folder / "out", training__iterations=1500, training__w_gen=0.0)
    assert planned(config) == ["ingest", "prepare", "train", "infer", "publish"]
    run(config, InProcess(), Silent())
    return config, {
        name: part
        for store, names in ((config.cube, ("lai", "land_share", "mask")), (config.map, ("label", "lai_filled")))
        for name, part in cut(store, names).items()
    }


def cut(store: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    cube, data = arcachon.read_cube(), xr.open_zarr(store, consolidated=False)
    size, n = float(cube["cellsize"]), 81
    column = round((float(cube["xll"]) + size / 2 - float(data.x[0])) / size)
    row = round((float(data.y[0]) - float(cube["yll"]) - (n - 0.5) * size) / size)
    return {name: data[name].values[..., row : row + n, column : column + n] for name in names}


def test_every_pixel_that_is_shown_lies_in_its_cell_unchanged(done):
    _, arrays = done
    cube = arcachon.read_cube()
    shown = (cube["lai_raw"] <= 100) & ~arcachon.hidden_values(cube)
    np.testing.assert_array_equal(~np.isnan(arrays["lai"]), shown)
    np.testing.assert_allclose(arrays["lai"][shown], cube["lai_raw"][shown] * 0.1, atol=1e-6)
    water = (cube["lai_raw"] == 254).all(axis=0)
    assert (arrays["land_share"][water] == 0).all()
    assert np.isnan(arrays["label"][water]).all()


def test_what_was_hidden_is_filled_better_than_by_the_mean(done):
    _, arrays = done
    cube = arcachon.read_cube()
    mapped = ~np.isnan(arrays["label"])
    hidden = (arcachon.hidden_values(cube) & mapped)[:, mapped]
    truth, filled, seen = 0.1 * cube["lai_raw"][:, mapped], arrays["lai_filled"][:, mapped], arrays["lai"][:, mapped]
    mean = np.broadcast_to(np.nanmean(seen, axis=0), seen.shape)
    error, error_of_mean = (np.sqrt(np.mean((guess - truth)[hidden] ** 2)) for guess in (filled, mean))
    assert hidden.mean() > 0.2
    assert error < 0.9 * error_of_mean


def test_one_cluster_is_the_pine_forest(done):
    _, arrays = done
    forest, label = arcachon.read_cube()["igbp"] == FOREST, arrays["label"]
    of_forest, of_rest = label[forest & ~np.isnan(label)], label[~forest & ~np.isnan(label)]
    assert max(of_forest.mean(), 1 - of_forest.mean()) > 0.85
    assert abs(of_forest.mean() - of_rest.mean()) > 0.25


def test_clusters_of_all_vegetation_are_not_called_seasons(done):
    config, _ = done
    names = xr.open_zarr(config.map, consolidated=False).label.attrs["flag_meanings"].split()
    assert len(names) == 2
    assert all(name.startswith("peak_") for name in names)
    html = (config.report / "index.html").read_text()
    assert "lai" in html
    assert "shown (hidden bits 0-15) in 0" in html
