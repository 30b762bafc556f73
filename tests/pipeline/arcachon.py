"""A real MODIS LAI cube (MOD15A2H of 2004, 81 x 81 pixels in tile h17v04, around Arcachon) as a folder of GeoTIFFs."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from pipeline.sources.sinusoidal import SINUSOIDAL

CUBE = Path(__file__).parents[3] / "shared" / "data" / "mod15a2h_lai_arcachon2004.npz"

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

[preparation]
min_land_share = 1.0
min_observations = 12
"""


def write_rasters(folder: Path) -> None:
    """One GeoTIFF a date in the cube's own sinusoidal grid, the outline of all of it, and the configuration."""
    cube = np.load(CUBE, allow_pickle=False)
    (folder / "rasters").mkdir(parents=True)
    size, n = float(cube["cellsize"]), cube["lai_raw"].shape[1]
    left, bottom = float(cube["xll"]), float(cube["yll"])
    transform = from_origin(left, bottom + n * size, size, size)
    profile = {
        "driver": "GTiff", "dtype": "uint8", "count": 1, "height": n, "width": n, "compress": "deflate",
        "crs": str(SINUSOIDAL), "transform": transform,
    }  # fmt: skip
    for name, values in zip(cube["modis_date"], cube["lai_raw"], strict=True):
        with rasterio.open(folder / "rasters" / f"MOD15A2H.{name}.Lai.tif", "w", **profile) as file:
            file.write(values, 1)
    to_degrees = SINUSOIDAL.transformer_to_crs("EPSG:4326")
    ring = [(left, bottom), (left + n * size, bottom), (left + n * size, bottom + n * size), (left, bottom + n * size)]
    corners = ", ".join("[{:.6f}, {:.6f}]".format(*to_degrees(x, y)) for x, y in (*ring, ring[0]))
    (folder / "outline.geojson").write_text(f'{{"type": "Polygon", "coordinates": [[{corners}]]}}')
    (folder / "arcachon.toml").write_text(TOML.format(folder=folder))
