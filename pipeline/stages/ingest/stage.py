"""Ingest: a year of observations becomes `cube.zarr`, averaged onto the grid over valid observations, shard by shard.

Every shard keeps a record of the content it was made from: new or replaced files redo the shards that they touch.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import zarr
from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import AsOf, composite_dates
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import fingerprint
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.disk_space import check_room
from pipeline.grid.grid import Grid, cells_inside, make_grid
from pipeline.grid.polygons import read_outline
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.sources.quality import ACCEPTED, OBSERVED
from pipeline.sources.source import Source
from pipeline.stages.ingest.footprint import window_of
from pipeline.stages.ingest.inventory import Inventory, refuse_too_few, take_inventory, without_unreadable
from pipeline.stages.ingest.strips import (
    STAGE,
    IngestSettings,
    Strip,
    ingest_strip,
    layers,
    pixels_per_cell,
    strip_width,
    strips_to_do,
)
from pipeline.stages.memory import check_tasks, ingest_bytes, work_of
from pipeline.stages.sources import open_source

VERSION: Final = 4  # raised when the same files would give other numbers
_UNDECODABLE: Final = "undecodable"  # attribute: files found bad while their pixels were read, by content


def ingest(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Average a year of observations onto the grid.

    Writes `cube.zarr`: every channel (time, y, x) in its own coding, land_share and crop_biome (y, x) in percent.

    Args:
        config: what to read and onto which grid.
        executor: where files are checked and shards worked on; in this process if None.
        reporter: where progress goes.

    Raises:
        UserError: there are no files, too many are missing or bad, or the output cannot be written.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    intake = take_in(config, executor, reporter)
    outline, grid, source, method, inventory, known, mark = intake
    path = config.cube
    if known is not None and stores.is_finished(known, STAGE, mark):
        about = layout.attributes(known)
        if any(about.get(name) != value for name, value in _found(inventory).items()):
            stores.open_to_write(path).update_attributes(_found(inventory))  # a file more that is bad changes no number
        return StageResult(STAGE, False, (path,), _facts(layout.attributes(known), inventory))
    _refuse_too_large(intake, executor, path)
    stores.begin(
        path,
        STAGE,
        mark,
        grid,
        layers(source.channels),
        axes=[layout.time_axis(composite_dates(config.year, config.ingest.calendar))],
        about=_about(config, source, inventory),
        method=method.mark,
    )
    without = partial(
        without_unreadable, source=source, folder=config.observations, outline=outline, as_of=_as_of(config)
    )
    inventory = _work_off(inventory, method, mark, grid, without, executor, reporter)
    _refuse_too_few(inventory, config)
    counts: Counter[str] = Counter()
    for record in stores.read_records(path, STAGE, grid.shards).values():
        counts.update(record["counts"])  # keeps the rules that reject nothing
    quality = quality_shares(counts)
    _tell(quality, reporter)
    group = stores.open_to_write(path)  # anew: its attributes now say which files were found bad while they were read
    stores.finish(
        group, STAGE, fingerprint(method.mark, inventory.inputs(inventory.scenes)), quality=quality, **_found(inventory)
    )
    return StageResult(STAGE, True, (path,), _facts(layout.attributes(group), inventory))


class Intake(NamedTuple):
    """What there is to ingest, and onto which grid: all that decides whether a cube is made from it."""

    outline: BaseGeometry
    grid: Grid
    source: Source
    method: IngestSettings
    inventory: Inventory
    known: zarr.Group | None  # the cube as it lies there
    mark: str  # fingerprint of the cube that would be made


def take_in(config: Config, executor: Executor, reporter: Reporter) -> Intake:
    """Look at every file of the year, and write nothing.

    Raises:
        UserError: there are no files, or too many are missing or bad, or none of them reaches the region.
    """
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    source = open_source(config)
    method = _method(config, source, grid)
    known = stores.find(config.cube)
    undecodable = layout.attributes(known).get(_UNDECODABLE, {}) if known is not None else {}
    inventory = take_inventory(source, config.observations, outline, undecodable, executor, reporter, _as_of(config))
    _refuse_too_few(inventory, config)
    _refuse_elsewhere(inventory, grid, config)
    mark = fingerprint(method.mark, inventory.inputs(inventory.scenes))
    return Intake(outline, grid, source, method, inventory, known, mark)


def _as_of(config: Config) -> AsOf:
    return AsOf(config.ingest.as_of, config.ingest.calendar)


def strips_left(intake: Intake) -> list[Strip]:
    """What is still to be done of the cube: all of it where the one that is there was made by another method."""
    known = {} if intake.known is None else layout.attributes(intake.known).get("stages", {}).get(STAGE, {})
    kept = known.get("fingerprint") == intake.mark or known.get("method") == intake.method.mark
    return list(strips_to_do(intake.inventory, intake.method, intake.grid, anew=not kept))


def _refuse_too_large(intake: Intake, executor: Executor, path: Location) -> None:
    """Check memory and room on the disk before the first shard.

    Raises:
        UserError: something does not fit; the message says what to change.
    """
    grid, channels = intake.grid, intake.source.channels
    n_dates = len(composite_dates(intake.method.year, intake.method.calendar))
    cells = cells_inside(grid, intake.outline)
    width = strip_width(intake.source, grid)
    work = work_of(grid, channels, n_dates, cells).reading(width, pixels_per_cell(grid, intake.inventory.scenes))
    check_tasks(STAGE, ingest_bytes, work, grid.chunk, executor.describe())
    to_do = [shard for strip in strips_left(intake) for shard in strip.shards]
    check_room(path, layers(channels), n_dates, grid, cells, to_do)


def _refuse_too_few(inventory: Inventory, config: Config) -> None:
    way_out = "Fetch them again, or give the day with --as-of if the year is still running."
    if config.raster.folder is not None:
        way_out = f"Check raster.files and ingest.calendar ({config.ingest.calendar})."
    refuse_too_few(inventory, config.observations, config.ingest.max_missing_share, way_out)


def _tell(quality: dict[str, Any], reporter: Reporter) -> None:
    """Say what became of the pixels; where none counts, that is hardly meant."""
    valued, accepted = quality["pixels_with_value"] / max(1, quality["pixels"]), quality["accepted_share"]
    reporter.message(f"{100 * valued:.1f} % of the pixels hold a value, {100 * accepted:.1f} % of these are accepted")
    if valued * accepted == 0:
        reporter.message(
            "warning: no observation counts, so the cube is empty. Check the valid range and the quality rules."
        )


def _refuse_elsewhere(inventory: Inventory, grid: Grid, config: Config) -> None:
    """Stop where no file reaches the region: so a wrong reference system shows.

    Raises:
        UserError: no scene meets the grid.
    """
    if all(window_of(grid.geobox, place) is None for place in {scene.geobox for scene in inventory.scenes}):
        first = inventory.scenes[0]
        left, bottom, right, top = first.geobox.geographic_extent.boundingbox
        raise UserError(
            f"{config.observations}: no file has a pixel in the region {config.region.outline}. {first.path.name} "
            f"covers {left:.2f} to {right:.2f} E and {bottom:.2f} to {top:.2f} N: check its reference system and "
            "region.outline."
        )


def quality_shares(counts: Counter[str]) -> dict[str, Any]:
    """What became of the pixels of all dates: how many held a value, which share of these each rule rejects."""
    observed = counts.pop(OBSERVED, 0)
    accepted = counts.pop(ACCEPTED, 0)
    codes = {name: count for name, count in counts.items() if name.startswith("code ")}
    pixels = observed + sum(codes.values())
    return {
        "pixels": pixels,
        "pixels_with_value": observed,
        "accepted_share": _share(accepted, observed),
        "rejected_shares": {n: _share(c, observed) for n, c in sorted(counts.items()) if n not in codes},
        "code_shares": {name.removeprefix("code "): _share(count, pixels) for name, count in sorted(codes.items())},
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _method(config: Config, source: Source, grid: Grid) -> IngestSettings:
    cells = (layout.spatial_attributes(grid.geobox), grid.shard, grid.chunk)
    how = (config.year, config.ingest.calendar, source.settings(), config.ingest.min_valid_share, cells)
    mark = fingerprint(STAGE, VERSION, how)
    return IngestSettings(config.cube, source, config.year, config.ingest.calendar, config.ingest.min_valid_share, mark)


def _about(config: Config, source: Source, inventory: Inventory) -> dict[str, Any]:
    about = source.about(inventory.scenes)
    if inventory.simulated:
        about["source"] += f" (simulated: {inventory.simulated.removeprefix('yes: ')})"
    names = ", ".join(channel.long_name for channel in source.channels)
    return {
        "title": f"{names}: {config.region.name}, {config.year}",
        "channels": [channel.name for channel in source.channels],
        "composites": config.ingest.calendar,
        "has_biomes": source.has_crop,
        "simulated": inventory.simulated,
        **about,
        "qc_rules": {rule.name: rule.describe() for rule in source.rules},
        **_found(inventory),
    }


def _found(inventory: Inventory) -> dict[str, Any]:
    return {
        "granules": len(inventory.scenes),
        "bad_granules": dict(inventory.bad),
        "missing_granules": list(inventory.missing),
        "newest_composite": inventory.newest,
        "awaited_composites": [day.isoformat() for day in inventory.awaited],
    }


def _facts(about: dict[str, Any], inventory: Inventory) -> dict[str, Any]:
    told = ("qc_policy", "qc_rules", "quality", "simulated")
    return {**_found(inventory), **{name: about[name] for name in told if name in about}}


def _work_off(
    inventory: Inventory,
    method: IngestSettings,
    mark: str,
    grid: Grid,
    without: Callable[..., Inventory],
    executor: Executor,
    reporter: Reporter,
) -> Inventory:
    """Do every shard that is not made from this very content; files whose pixels cannot be read leave the inventory.

    A file that fails in one shard is left out everywhere: shards that had used other parts of it are done once more.
    """
    undecodable = dict(layout.attributes(stores.open_to_read(method.path)).get(_UNDECODABLE, {}))
    while strips := list(strips_to_do(inventory, method, grid)):
        unreadable: dict[Path, str] = {}
        for found in run_shards(executor, partial(ingest_strip, method, mark), strips, STAGE, reporter):
            unreadable |= found
        for path, reason in unreadable.items():
            reporter.message(f"set aside: {reason}")
            undecodable[inventory.digests[path]] = reason
        if unreadable:
            stores.open_to_write(method.path).update_attributes({_UNDECODABLE: undecodable})
            inventory = without(inventory, unreadable=unreadable)
    return inventory
