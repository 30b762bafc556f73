"""A real MODIS LAI cube (MOD15A2H of 2004, 81 x 81 pixels in tile h17v04, around Arcachon) as a folder of GeoTIFFs.

The cube comes without its quality layers, and has a value on every date of every land pixel: nothing in it is to be
filled. So some values are hidden, as clouds would, by a quality layer that is made up; what is behind them is known.
"""

import json
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from pipeline.grid.sinusoidal import SINUSOIDAL
from tests.support.paths import DATA

CUBE = DATA / "mod15a2h_lai_arcachon2004.npz"

TOML = """
year = 2004

[region]
name = "arcachon"
outline = "{folder}/outline.geojson"

[ingest]
grid = "sinusoidal-463m"
shard = 64
chunk = 32

[raster]
folder = "{folder}/rasters"
files = ["MOD15A2H.A%Y%j.Lai.tif"]

[[raster.channels]]
name = "lai"
long_name = "leaf area index"
units = "m2 m-2"
scale = 0.1
valid_range = [0, 100]
static = [250, 251, 252, 253, 254]

[[raster.quality]]
name = "hidden"
files = ["MOD15A2H.A%Y%j.hidden.tif"]

[[raster.quality.rules]]
name = "shown"
accept = [0]

[preparation]
min_land_share = 1.0
min_observations = 12
"""


def read_cube() -> dict[str, np.ndarray]:
    """The cube's arrays: lai_raw (46, 81, 81), igbp (81, 81), modis_date (46,), xll, yll, cellsize, ..."""
    with np.load(CUBE, allow_pickle=False) as cube:
        return dict(cube)


def hidden_values(cube: dict[str, np.ndarray], seed: int = 0) -> np.ndarray:
    """Which values are hidden (46, 81, 81): blocks of 9 pixels, half of them in winter, one in ten in summer."""
    rng = np.random.default_rng(seed)
    days = 8 * np.arange(46) + 1
    share = 0.3 + 0.2 * np.cos(2 * np.pi * (days - 15) / 365)
    blocks = rng.random((46, 9, 9)) < share[:, None, None]
    return np.repeat(np.repeat(blocks, 9, axis=1), 9, axis=2)


def write_rasters(folder: Path) -> None:
    """Two GeoTIFFs a date in the cube's own sinusoidal grid, the outline of all of it, and the configuration."""
    cube = read_cube()
    (folder / "rasters").mkdir(parents=True)
    size, n = float(cube["cellsize"]), cube["lai_raw"].shape[1]
    left, bottom = float(cube["xll"]), float(cube["yll"])
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": n, "width": n, "compress": "deflate",
        "crs": str(SINUSOIDAL), "transform": from_origin(left, bottom + n * size, size, size),
    }  # fmt: skip
    layers = {"Lai": cube["lai_raw"], "hidden": hidden_values(cube).astype(np.uint8)}
    for layer, values in layers.items():
        for name, one in zip(cube["modis_date"], values, strict=True):
            with rasterio.open(folder / "rasters" / f"MOD15A2H.{name}.{layer}.tif", "w", **profile) as file:
                file.write(one, 1)
    to_degrees = SINUSOIDAL.transformer_to_crs("EPSG:4326")
    ring = [(left, bottom), (left + n * size, bottom), (left + n * size, bottom + n * size), (left, bottom + n * size)]
    corners = [list(to_degrees(x, y)) for x, y in (*ring, ring[0])]
    (folder / "outline.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    (folder / "arcachon.toml").write_text(TOML.format(folder=folder))
