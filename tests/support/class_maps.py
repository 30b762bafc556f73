"""Small maps of class codes."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

CORNER = (4_200_000, 2_400_000)  # upper left, EPSG:3035


def write_map(
    path: Path, codes: np.ndarray, corner=CORNER, cell=100, crs="EPSG:3035", transform=None, **profile
) -> Path:
    """Write a GeoTIFF of codes (rows, columns) with 0 as no data."""
    settings = {"driver": "GTiff", "dtype": codes.dtype, "count": 1, "nodata": 0} | profile
    height, width = codes.shape
    transform = transform or from_origin(*corner, cell, cell)
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", height=height, width=width, crs=crs, transform=transform, **settings) as file:
        for layer in range(1, settings["count"] + 1):
            file.write(codes, layer)
    return path
