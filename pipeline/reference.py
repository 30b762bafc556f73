"""The reference crop map on the grid: `reference.zarr`, with the winning code, its share, and its season."""

from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import rasterio

from pipeline import layout, stores
from pipeline.accounting import count_pixels
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.files import partial_path
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.grid import Grid, Shard, make_grid, read_outline
from pipeline.locations import Location
from pipeline.progress import Reporter, Silent
from pipeline.references import eucropmap
from pipeline.stage import StageResult, run_shards

STAGE: Final = "reference"
VERSION: Final = 2
WINTER: Final = 0
SUMMER: Final = 1
UNUSED: Final = layout.MISSING

LAYERS: Final = (
    layout.Layer("code", {"long_name": "most frequent EUCROPMAP code"}, dtype="int16", fill=eucropmap.NO_DATA),
    layout.Layer("share", {"long_name": "share of the most frequent code", "units": "percent"}),
    layout.Layer(
        "season",
        {
            "long_name": "season of the most frequent crop",
            "flag_values": [WINTER, SUMMER],
            "flag_meanings": "winter summer",
            "comment": "not set where the crop may be of either season, or is none",
        },
    ),
)


def reduce_reference(config: Config, grid: Grid, executor: Executor, reporter: Reporter) -> StageResult:
    """Reduce the reference crop map to the grid: `reference.zarr` with code, share and season (y, x).

    Raises:
        UserError: there is no map, or it cannot be used.
    """
    source = config.reference_path
    if source is None:
        raise UserError("no reference map is given: name one with --reference or reference.path.")
    eucropmap.check(source)
    mark = reference_mark(source, grid)
    path = config.reference_grid
    if stores.is_finished(stores.find(path), STAGE, mark):
        return StageResult(STAGE, False, (path,))
    group = stores.begin(path, STAGE, mark, grid, LAYERS, about={"source": source.name, **_about(source)})
    shards = stores.shards_to_do(path, STAGE, mark, [layer.name for layer in LAYERS], grid)
    work = partial(_reduce_shard, path=path, source=source, mark=mark)
    for _ in run_shards(executor, work, shards, STAGE, reporter):
        pass
    stores.finish(group, STAGE, mark)
    return StageResult(STAGE, True, (path,))


def reference_mark(source: Path, grid: Grid) -> str:
    """Fingerprint of a reference map, by content, reduced to a grid."""
    return fingerprint(STAGE, VERSION, content_digest(source), layout.spatial_attributes(grid.geobox), grid.shard)


def seasons(codes: np.ndarray) -> np.ndarray:
    """Season of EUCROPMAP codes: 0 winter, 1 summer, 255 for crops that may be either and for all else."""
    season = np.full(codes.shape, UNUSED, np.uint8)
    season[np.isin(codes, eucropmap.WINTER)] = WINTER
    season[np.isin(codes, eucropmap.SUMMER)] = SUMMER
    return season


def _reduce_shard(shard: Shard, *, path: Location, source: Path, mark: str) -> None:
    grid = layout.read_grid(stores.open_to_read(path))
    code, share = eucropmap.majority(source, grid.shard_geobox(shard))
    season = seasons(code)
    with stores.writing(path, STAGE, mark) as group:
        stores.discard_record(group, STAGE, shard)
        for name, data in (("code", code), ("share", share), ("season", season)):
            stores.write_shard(group, name, grid, shard, data)
        stores.write_record(group, STAGE, shard, {"mark": mark})
    count_pixels(code.size)


def _about(source: Path) -> dict[str, str]:
    with rasterio.open(source) as file:
        return {"simulated": file.tags().get(layout.SIMULATED, ""), "reference_crs": str(file.crs)}


def reference_to_geotiff(config: Config, target: Path, reporter: Reporter | None = None) -> Path:
    """Reduce the reference crop map to seasons on the configured grid: a GeoTIFF of 0 winter, 1 summer, 255 not used.

    Raises:
        UserError: there is no map, it cannot be used, or the GeoTIFF cannot be written.
    """
    reporter = reporter or Silent()
    source = config.reference_path
    if source is None:
        raise UserError("no reference map is given: name one with --input.")
    eucropmap.check(source)
    grid = make_grid(config.ingest.grid, read_outline(config.region.outline), config.ingest.shard, config.ingest.chunk)
    season = np.full(grid.shape, UNUSED, np.uint8)

    def work(shard: Shard) -> None:
        season[grid.window(shard)] = seasons(eucropmap.majority(source, grid.shard_geobox(shard))[0])

    for _ in run_shards(InProcess(), work, grid.shards, STAGE, reporter):
        pass
    return write_geotiff(target, season, grid, _about(source)["simulated"])


def write_geotiff(target: Path, data: np.ndarray, grid: Grid, simulated: str) -> Path:
    """Write a uint8 layer (y, x) as a tiled, compressed GeoTIFF with 255 as no data, whole or not at all."""
    beside = partial_path(target)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "compress": "deflate", "tiled": True}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with rasterio.open(
            beside, "w", height=grid.shape[0], width=grid.shape[1], crs=str(grid.geobox.crs),
            transform=grid.geobox.transform, **profile,
        ) as file:  # fmt: skip
            file.write(data, 1)
            file.update_tags(**{layout.SIMULATED: simulated})
        beside.replace(target)
    except (OSError, rasterio.errors.RasterioError) as error:
        beside.unlink(missing_ok=True)
        raise UserError(f"cannot write {target}: {error}") from None
    return target
