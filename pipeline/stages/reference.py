"""Reference: the reference crop map on the grid, `reference.zarr`: the most frequent code, its share, its season."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from shapely.geometry.base import BaseGeometry

from pipeline.base.accounting import count_pixels
from pipeline.base.errors import UserError
from pipeline.base.files import atomic_file
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.shard_writer import ShardWriter
from pipeline.grid.grid import Grid, Shard, make_grid
from pipeline.grid.polygons import LONLAT, read_outline
from pipeline.references import product_of
from pipeline.references.class_map import ClassMap
from pipeline.references.legend import NO_DATA, SEASONS, UNUSED, MapClass, as_attribute, read_table, seasons
from pipeline.references.majority import NO_SHARE, majority
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.stages.context import Run
from pipeline.stages.shard_stage import ShardStage

STAGE: Final = Stage.REFERENCE
VERSION: Final = 3
_TIES: Final = "over all codes, crops or not; of several as frequent, the smallest"

LAYERS: Final = (
    layout.Layer("code", {"long_name": "most frequent code", "comment": _TIES}, dtype="int16", fill=NO_DATA),
    layout.Layer("share", {"long_name": "share of the most frequent code", "units": "percent"}, fill=NO_SHARE),
    layout.Layer(
        "n_valid", {"long_name": "number of the map's cells with a class", "units": "1"}, dtype="uint32", fill=0
    ),
    layout.Layer(
        "season",
        {
            "long_name": "season of the most frequent crop",
            "flag_values": list(range(len(SEASONS))),
            "flag_meanings": " ".join(SEASONS),
            "comment": "not set where the crop may be of either season, or is none",
        },
        fill=UNUSED,
    ),
)


@dataclass(frozen=True)
class Reference:
    """A reference map whose header has been read, and its classes."""

    product: str
    source: ClassMap
    classes: tuple[MapClass, ...]
    year: int | None  # of the map; None where it is not known

    @property
    def codes(self) -> list[int]:
        """Codes of the classes, ascending."""
        return [one.code for one in self.classes]


def open_reference(config: Config, *, any_year: bool = False) -> Reference:
    """Open the reference map of a configuration; only its header is read.

    Args:
        config: of the run.
        any_year: whether a map of any year is accepted.

    Raises:
        UserError: there is no map, it cannot be used, is of another year, or does not overlap the region, or the
            class table is wrong.
    """
    path = config.reference_path
    if path is None:
        raise UserError("no reference map is given: name one with --reference or reference.path.")
    settings = config.reference
    product = product_of(path, settings.product)
    table = settings.classes or product.TABLE
    classes = read_table(table, weak=settings.weak)
    if lacking := sorted(set(product.CODES) - {one.code for one in classes}):
        raise UserError(f"the class table {table} lacks the {product.NAME} code {lacking[0]}: add a line for it.")
    wanted = config.year if settings.year is None else settings.year
    region = read_outline(config.region.outline)
    source = product.find(path, None if any_year and settings.year is None else wanted, region)
    if not any_year and source.year is not None and source.year != wanted:
        raise UserError(
            f"the reference map {source.name} is of {source.year}, and {_wanted_year(config)}. Give a map of that "
            f"year, or set reference.year = {source.year} to compare with this one all the same."
        )
    check_overlap(source, region, path)
    return Reference(product.NAME, source, classes, settings.year if source.year is None else source.year)


def _wanted_year(config: Config) -> str:
    """Return why a map of another year is refused."""
    if config.reference.year is None:
        return f"the observations are of {config.year}"
    return f"reference.year is {config.reference.year}"


def check_overlap(source: ClassMap, region: BaseGeometry, path: Path) -> None:
    """Refuse a map that does not overlap the region (longitude and latitude).

    Raises:
        UserError: it does not.
    """
    extent = source.geobox.extent
    sides = extent.boundingbox
    covered = extent.to_crs(LONLAT, resolution=max(sides.span_x, sides.span_y) / 64).geom
    if not covered.intersects(region):
        west, south, east, north = covered.bounds
        left, bottom, right, top = region.bounds
        raise UserError(
            f"the reference map {path} does not overlap the region: it covers {west:.2f} to {east:.2f} E and "
            f"{south:.2f} to {north:.2f} N, the region {left:.2f} to {right:.2f} E and {bottom:.2f} to {top:.2f} N. "
            "Check its CRS and region.outline."
        )


def reduce_reference(run: Run, grid: Grid) -> StageResult:
    """Reduce the reference map to the grid: `reference.zarr` with code, share, n_valid and season (y, x).

    Raises:
        UserError: there is no map, or it cannot be used.
        ShardsFailed: some shards could not be done.
    """
    reference = open_reference(run.config)
    stage = reference_stage(run.config, reference, grid)
    fresh = not stage.is_finished()
    if fresh:
        stage.carry_out(run, partial(_reduce_shard, reference=reference, writer=stage.writer))
    return StageResult(STAGE, fresh, (stage.path,))


def reference_stage(config: Config, reference: Reference, grid: Grid) -> ShardStage:
    """Return what is written of a reduced reference map."""
    fingerprint = reference_fingerprint(reference, grid)
    made_from = dict.fromkeys(grid.shards, fingerprint)
    about = _about(config, reference)
    return ShardStage(STAGE, config.reference_grid, fingerprint, grid, LAYERS, made_from, about=about)


def reference_fingerprint(reference: Reference, grid: Grid) -> Fingerprint:
    """Return the fingerprint of a reference map, by content, and its classes, reduced to a grid."""
    of_map = reference.product, reference.year, reference.source.digest(), as_attribute(reference.classes)
    return fingerprint_of(STAGE, VERSION, of_map, layout.spatial_attributes(grid.geobox), grid.shard)


def _reduce_shard(shard: Shard, *, reference: Reference, writer: ShardWriter) -> None:
    """Reduce one shard."""
    grid = layout.read_grid(stores.open_to_read(writer.path))
    found = majority(reference.source, grid.shard_geobox(shard), reference.codes)
    season = seasons(found.code, reference.classes)
    arrays = {"code": found.code, "share": found.share, "n_valid": found.n_valid, "season": season}
    writer.write(grid, shard, arrays.items(), writer.fingerprint)
    count_pixels(season.size)


def _about(config: Config, reference: Reference) -> dict[str, object]:
    """Return the attributes of the store."""
    source = reference.source
    crs = source.geobox.crs
    return {
        "title": f"{reference.product} over {config.region.name}, {config.year}",
        "source": source.name,
        "simulated": source.simulated,
        "reference_crs": f"EPSG:{crs.epsg}" if crs.epsg else str(crs),
        "product": reference.product,
        "reference_year": reference.year,
        "reference_digest": source.digest(),
        "classes": as_attribute(reference.classes),
        "ties": _TIES,
    }


def reference_to_geotiff(config: Config, target: Path, reporter: Reporter | None = None) -> Path:
    """Reduce the reference map to seasons on the configured grid: a GeoTIFF of 0 winter, 1 summer, 255 not used.

    A map of any year is accepted.

    Raises:
        UserError: there is no map, it cannot be used, or the GeoTIFF cannot be written.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, None, reporter)
    reference = open_reference(config, any_year=True)
    grid = make_grid(config.ingest.grid, read_outline(config.region.outline), config.ingest.shard, config.ingest.chunk)
    season = np.full(grid.shape, UNUSED, np.uint8)

    def work(shard: Shard) -> None:
        codes = majority(reference.source, grid.shard_geobox(shard), reference.codes).code
        season[grid.window(shard)] = seasons(codes, reference.classes)

    for _ in run_shards(run.executor, work, grid.shards, STAGE, run.reporter):
        pass
    return write_geotiff(target, season, grid, reference.source.simulated)


def write_geotiff(target: Path, data: np.ndarray, grid: Grid, simulated: str) -> Path:
    """Write a uint8 layer (y, x) as a tiled, compressed GeoTIFF with 255 as no data, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "compress": "deflate", "tiled": True}
    try:
        with atomic_file(target) as beside, rasterio.open(
            beside, "w", height=grid.shape[0], width=grid.shape[1], crs=str(grid.geobox.crs),
            transform=grid.geobox.transform, **profile,
        ) as file:  # fmt: skip
            file.write(data, 1)
            file.update_tags(**{layout.SIMULATED: simulated})
    except (OSError, rasterio.errors.RasterioError) as error:
        raise UserError(f"cannot write {target}: {error}") from None
    return target
