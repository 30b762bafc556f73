"""A small store whose numbers follow from their position."""

from collections.abc import Sequence

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from pipeline.base.calendar import composite_dates
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.shards import FINGERPRINT_KEY
from pipeline.grid.grid import Grid, Shard

GRID = Grid("test", GeoBox((20, 12), from_origin(4_000_000, 2_000_000, 1000, 1000), "EPSG:3035"), 8, 4)
LAYERS = [layout.Layer("fpar", {"scale_factor": 0.01}, ("time",)), layout.Layer("label", {"flag_values": [0, 1]})]
NAMES = ("fpar", "label")


def begin(path: Location, fingerprint: str = "a") -> zarr.Group:
    """Begin the store for a run of ingest."""
    return stores.begin(
        path, Stage.INGEST, Fingerprint(fingerprint), GRID, LAYERS, axes=[layout.time_axis(composite_dates(2018))]
    )


def position(shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers that differ from cell to cell."""
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def do_shard(
    path: Location,
    shard: Shard,
    stage: Stage = Stage.INGEST,
    fingerprint: str = "a",
    names: Sequence[str] = NAMES,
) -> None:
    """Write a shard as a task does."""
    rows, columns = GRID.window(shard)
    with stores.writing(path, stage, Fingerprint(fingerprint)) as group:
        stores.discard_record(group, stage, shard)
        for name in names:
            whole = position(layout.array(group, name).shape)
            stores.write_shard(group, name, GRID, shard, whole[..., rows, columns])
        stores.write_record(group, stage, shard, {FINGERPRINT_KEY: fingerprint})
