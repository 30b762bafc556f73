"""A small store whose shards hold their own position."""

from collections.abc import Sequence

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from pipeline.base.calendar import composite_dates
from pipeline.base.locations import Location
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid, Shard

GRID = Grid("test", GeoBox((20, 12), from_origin(4_000_000, 2_000_000, 1000, 1000), "EPSG:3035"), 8, 4)
LAYERS = [layout.Layer("fpar", {"scale_factor": 0.01}, ("time",)), layout.Layer("label", {"flag_values": [0, 1]})]
NAMES = ("fpar", "label")


def begin(path: Location, mark: str = "a") -> zarr.Group:
    return stores.begin(path, "ingest", mark, GRID, LAYERS, axes=[layout.time_axis(composite_dates(2018))])


def position(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers that say where they lie."""
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def do_shard(
    path: Location, shard: Shard, stage: str = "ingest", mark: str = "a", names: Sequence[str] = NAMES
) -> None:
    """Write a shard as a task does."""
    rows, columns = GRID.window(shard)
    with stores.writing(path, stage, mark) as group:
        stores.discard_record(group, stage, shard)
        for name in names:
            whole = position(layout.array(group, name).shape)
            stores.write_shard(group, name, GRID, shard, whole[..., rows, columns])
        stores.write_record(group, stage, shard, {"mark": mark})
