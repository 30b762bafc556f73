"""Ingest: a year of granules becomes `cube.zarr`, averaged onto the grid over valid observations, shard by shard."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import layout, stores
from pipeline.calendar import DAYS_OF_YEAR, composite_dates
from pipeline.config import Config
from pipeline.errors import GranuleError, UserError
from pipeline.executor import Executor, InProcess
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.footprint import Footprint, footprint, tiles_touching
from pipeline.grid import Shard, make_grid, read_outline
from pipeline.progress import Reporter, Silent
from pipeline.sources import viirs
from pipeline.sources.sinusoidal import Tile
from pipeline.stage import StageResult, run_shards

STAGE = "ingest"
VERSION = 1  # raised when the same granules would give other numbers

LAYERS = (
    layout.Layer(
        "fpar",
        {
            "long_name": "fraction of absorbed photosynthetically active radiation",
            "units": "1",
            "scale_factor": 0.01,
            "valid_range": [0, 100],
            "cell_methods": "area: mean (of valid observations)",
        },
        ("time",),
    ),
    layout.Layer(
        "crop_biome",
        {"long_name": "share of observations in pixels of biome grass, cereal or broadleaf crop", "units": "percent"},
    ),
)


@dataclass(frozen=True)
class Stock:
    """The granules that can be used, and what is wrong with the others."""

    granules: tuple[viirs.Granule, ...]
    digests: dict[str, str]
    bad: dict[str, str]
    missing: tuple[str, ...]  # "A2018001 h18v04": there is no granule
    simulated: str  # what simulated granules say of themselves; empty for real ones


def ingest(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Average a year of granules onto the grid.

    Writes `cube.zarr` with fpar (time, y, x), uint8 in percent, 255 = missing.

    Args:
        config: what to read and onto which grid.
        executor: where shards are worked on; in this process if None.
        reporter: where progress goes.

    Raises:
        UserError: there are no granules, too many are missing or bad, or the output cannot be written.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    stock = take_stock(config, tiles_touching(outline), reporter)
    cells = (layout.spatial_attributes(grid.geobox), grid.shard, grid.chunk)
    how = (config.year, config.ingest.qc, config.ingest.min_valid_share, cells)
    mark = fingerprint(STAGE, VERSION, how, stock.digests, stock.bad, stock.missing)
    facts = {
        "granules": len(stock.granules),
        "bad_granules": stock.bad,
        "missing_granules": list(stock.missing),
        "qc_policy": config.ingest.qc,
        "simulated": stock.simulated,
    }
    path = config.cube
    if stores.is_finished(stores.find(path), STAGE, mark):
        return StageResult(STAGE, False, (path,), facts)
    group = stores.begin(
        path,
        STAGE,
        mark,
        grid,
        LAYERS,
        axes=[layout.time_axis(composite_dates(config.year))],
        about={"title": f"FPAR of {config.region.name}, {config.year}", "source": _source(stock), **facts},
    )
    work = partial(
        _ingest_shard, path=path, granules=stock.granules, qc=config.ingest.qc, least=config.ingest.min_valid_share
    )
    shards = stores.shards_to_do(path, [layer.name for layer in LAYERS], grid)
    bad = dict(stock.bad)
    for unreadable in run_shards(executor, work, shards, STAGE, reporter):
        bad |= unreadable
    facts["bad_granules"] = bad
    stores.finish(group, STAGE, mark, bad_granules=bad)
    return StageResult(STAGE, True, (path,), facts)


def take_stock(config: Config, tiles: Sequence[Tile], reporter: Reporter) -> Stock:
    """Open every granule of the year once: which can be used, which are bad, which are missing.

    Raises:
        UserError: more than the configured share cannot be used, or simulated and real ones are mixed.
    """
    found = [granule for granule in viirs.find_granules(config.granules, config.year) if granule.tile in tiles]
    usable, digests, bad, simulated = [], {}, {}, set()
    with reporter.track("check", len(found)) as task:
        for granule in found:
            try:
                simulated.add(viirs.check(granule)["simulated"])
                digests[granule.path.name] = content_digest(granule.path)
                usable.append(granule)
            except GranuleError as error:
                bad[granule.path.name] = str(error)
                reporter.message(f"set aside: {error}")
            task.advance()
    there = {(granule.day, granule.tile) for granule in found}
    missing = tuple(f"A{config.year}{day:03d} {t}" for day in DAYS_OF_YEAR for t in tiles if (day, t) not in there)
    if missing:
        some = ", ".join(missing[:6]) + (", ..." if len(missing) > 6 else "")
        reporter.message(f"{len(missing)} granule(s) missing, their dates are left as gaps: {some}")
    _refuse_too_few(config, tiles, bad, missing)
    if len(simulated) > 1:
        raise UserError(f"{config.granules} mixes simulated granules with real ones: keep them in folders apart.")
    return Stock(tuple(usable), digests, bad, missing, simulated.pop() if simulated else "")


def _refuse_too_few(config: Config, tiles: Sequence[Tile], bad: dict[str, str], missing: Sequence[str]) -> None:
    lacking, wanted = len(missing) + len(bad), len(DAYS_OF_YEAR) * len(tiles)
    if lacking > config.ingest.max_missing_share * wanted:
        raise UserError(
            f"{config.granules}: {lacking} of the {wanted} granules of {config.year} ({len(DAYS_OF_YEAR)} dates of "
            f"{', '.join(map(str, tiles))}) are missing ({len(missing)}) or bad ({len(bad)}), more than the share "
            f"ingest.max_missing_share = {config.ingest.max_missing_share:g}. Fetch them again, or raise the share."
        )


def _source(stock: Stock) -> str:
    products = sorted({f"{granule.product}.{granule.version}" for granule in stock.granules})
    return ", ".join(products) + (f" ({stock.simulated})" if stock.simulated else "")


def _ingest_shard(
    shard: Shard, *, path: Path, granules: Sequence[viirs.Granule], qc: str, least: float
) -> dict[str, str]:
    """Write one shard of the cube; returns the granules whose pixels could not be decoded, with the reason."""
    group = stores.open_to_write(path)
    grid = layout.read_grid(group)
    geobox = grid.shard_geobox(shard)
    n_cells = geobox.shape[0] * geobox.shape[1]
    footprints = {tile: f for tile in viirs.tiles_of(granules) if (f := footprint(geobox, tile))}
    pixels = np.zeros(n_cells, np.int64)
    for where in footprints.values():
        pixels += np.bincount(where.cells, minlength=n_cells)
    fpar = np.full((len(DAYS_OF_YEAR), n_cells), layout.MISSING, np.uint8)
    biome = _Mean(n_cells)
    unreadable: dict[str, str] = {}
    for index, day in enumerate(DAYS_OF_YEAR):
        composite = _Mean(n_cells)  # over all tiles at once, so that a cell on a seam is one average
        for granule in granules:
            if granule.day != day or granule.tile not in footprints:
                continue
            try:
                _add(granule, footprints[granule.tile], viirs.QC_POLICIES[qc], composite, biome)
            except GranuleError as error:
                unreadable[granule.path.name] = str(error)
        fpar[index] = composite.rounded(np.maximum(1, least * pixels))
    stores.write_shard(group, "crop_biome", grid, shard, biome.rounded(1).reshape(geobox.shape))
    stores.write_shard(group, "fpar", grid, shard, fpar.reshape(-1, *geobox.shape))
    return unreadable


class _Mean:
    """Running mean of values from 0 to 100 by cell."""

    def __init__(self, n_cells: int) -> None:
        self._n = n_cells
        self._sum = np.zeros(n_cells)
        self._count = np.zeros(n_cells, np.int64)

    def add(self, cells: np.ndarray, values: np.ndarray) -> None:
        self._sum += np.bincount(cells, values, minlength=self._n)
        self._count += np.bincount(cells, minlength=self._n)

    def rounded(self, least: np.ndarray | int) -> np.ndarray:
        """The mean where at least `least` values were added, else missing."""
        enough = self._count >= least
        mean = np.full(self._n, layout.MISSING, np.uint8)
        mean[enough] = np.rint(self._sum[enough] / self._count[enough]).astype(np.uint8)
        return mean


def _add(granule: viirs.Granule, where: Footprint, policy: viirs.QcPolicy, composite: _Mean, biome: _Mean) -> None:
    """Add one granule's pixels to the averages of its date and of the land cover."""
    layers = viirs.read(granule, where.rows, where.columns)
    layers = {name: layer.ravel()[where.positions] for name, layer in layers.items()}
    accepted = viirs.valid(layers, policy)
    composite.add(where.cells[accepted], layers["Fpar"][accepted])
    observed = layers["Fpar"] <= viirs.FPAR_MAX
    biome.add(where.cells[observed], 100 * viirs.crop_biome({k: v[observed] for k, v in layers.items()}))
