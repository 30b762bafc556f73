"""Ingest: a year of observations becomes `cube.zarr`, averaged onto the grid over valid observations, shard by shard.

Every shard keeps a record of the content it was made from: new or replaced files redo the shards that they touch.
"""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import AsOf, composite_dates
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid, cells_inside, make_grid
from pipeline.grid.polygons import read_outline
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.sources.quality import ACCEPTED, OBSERVED
from pipeline.sources.source import Source
from pipeline.stages.context import Run
from pipeline.stages.ingest.footprint import window_of
from pipeline.stages.ingest.inventory import Inventory, refuse_too_few, take_inventory, without_unreadable
from pipeline.stages.ingest.strips import (
    STAGE,
    IngestSettings,
    Strip,
    ingest_strip,
    layers,
    pixels_per_cell,
    shard_fingerprints,
    strip_width,
    strips_of,
)
from pipeline.stages.memory import ingest_bytes, work_of
from pipeline.stages.shard_stage import ShardStage
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
    run = Run.of(config, executor, reporter)
    intake = take_in(run)
    stage, inventory = intake.stage, intake.inventory
    if stage.is_finished():
        group = stores.open_to_read(config.cube)
        about, found = layout.attributes(group), _found(inventory)
        if any(about.get(name) != value for name, value in found.items()):
            stores.open_to_write(config.cube).update_attributes(found)  # a bad file more changes no number
        return StageResult(STAGE, False, (config.cube,), _facts(layout.attributes(group), inventory))
    strips = strips_left(intake)
    stage.check_memory(run)
    stage.check_room([shard for strip in strips for shard in strip.shards])
    stage.begin()
    inventory = _do_strips(run, intake)
    _refuse_too_few(inventory, config)
    counts: Counter[str] = Counter()
    for record in stores.read_records(config.cube, STAGE, stage.grid.shards).values():
        counts.update(record["counts"])  # keeps the rules that reject nothing
    quality = quality_shares(counts)
    _say_quality(quality, run.reporter)
    stage.finish(_fingerprint(intake.settings, inventory), quality=quality, **_found(inventory))
    about = layout.attributes(stores.open_to_read(config.cube))
    return StageResult(STAGE, True, (config.cube,), _facts(about, inventory))


class Intake(NamedTuple):
    """What there is to ingest, and onto which grid: all that decides whether a cube is made from it."""

    outline: BaseGeometry
    source: Source
    settings: IngestSettings
    inventory: Inventory
    stage: ShardStage  # the cube that would be made


def take_in(run: Run) -> Intake:
    """Look at every file of the year, and write nothing.

    Raises:
        UserError: there are no files, or too many are missing or bad, or none of them reaches the region.
    """
    config = run.config
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    source = open_source(config)
    settings = _settings(config, source, grid)
    known = stores.find(config.cube)
    undecodable = layout.attributes(known).get(_UNDECODABLE, {}) if known is not None else {}
    inventory = take_inventory(
        source, config.observations, outline, undecodable, run.executor, run.reporter, _as_of(config)
    )
    _refuse_too_few(inventory, config)
    _refuse_elsewhere(inventory, grid, config)
    return Intake(outline, source, settings, inventory, _stage(config, settings, inventory, grid, outline))


def _as_of(config: Config) -> AsOf:
    return AsOf(config.ingest.as_of, config.ingest.calendar)


def _fingerprint(settings: IngestSettings, inventory: Inventory) -> Fingerprint:
    """Return the fingerprint of a cube: of the settings and of the content of every file."""
    return fingerprint_of(settings.fingerprint, inventory.inputs(inventory.scenes))


def _stage(
    config: Config, settings: IngestSettings, inventory: Inventory, grid: Grid, outline: BaseGeometry
) -> ShardStage:
    """Return what ingest writes of the files that there are."""
    source, days = settings.source, composite_dates(config.year, config.ingest.calendar)
    cells = cells_inside(grid, outline)
    work = work_of(grid, source.channels, len(days), cells)
    return ShardStage(
        STAGE,
        config.cube,
        _fingerprint(settings, inventory),
        grid,
        tuple(layers(source.channels)),
        shard_fingerprints(settings, inventory, grid),
        method=settings.fingerprint,
        axes=(layout.time_axis(days),),
        about=_about(config, source, inventory),
        cells=cells,
        work=work.reading(strip_width(source, grid), pixels_per_cell(grid, inventory.scenes)),
        memory=ingest_bytes,
    )


def strips_left(intake: Intake) -> list[Strip]:
    """Return what is still to be done of the cube: all of it where another method has made the one that is there."""
    stage = intake.stage
    return strips_of(stage.to_do(), intake.inventory, intake.settings, stage.grid, stage.made_from)


def _do_strips(run: Run, intake: Intake) -> Inventory:
    """Do every shard that is not made from this very content; files whose pixels cannot be read leave the inventory.

    A file that fails in one shard is left out everywhere: shards that had used other parts of it are done once more.
    """
    config, stage, inventory = run.config, intake.stage, intake.inventory
    undecodable = dict(layout.attributes(stores.open_to_read(stage.path)).get(_UNDECODABLE, {}))
    task = partial(ingest_strip, intake.settings, stage.writer)
    while strips := strips_left(intake._replace(inventory=inventory, stage=stage)):
        unreadable: dict[Path, str] = {}
        for found in stage.do_shards(run, task, strips):
            unreadable |= found
        for path, reason in unreadable.items():
            run.reporter.message(f"set aside: {reason}")
            undecodable[inventory.digests[path]] = reason
        if unreadable:
            stores.open_to_write(stage.path).update_attributes({_UNDECODABLE: undecodable})
            inventory = without_unreadable(
                inventory, intake.source, config.observations, intake.outline, unreadable, _as_of(config)
            )
            stage = replace(stage, made_from=shard_fingerprints(intake.settings, inventory, stage.grid))
    return inventory


def _refuse_too_few(inventory: Inventory, config: Config) -> None:
    way_out = "Fetch them again, or give the day with --as-of if the year is still running."
    if config.raster.folder is not None:
        way_out = f"Check raster.files and ingest.calendar ({config.ingest.calendar})."
    refuse_too_few(inventory, config.observations, config.ingest.max_missing_share, way_out)


def _say_quality(quality: dict[str, Any], reporter: Reporter) -> None:
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


def _settings(config: Config, source: Source, grid: Grid) -> IngestSettings:
    cells = (layout.spatial_attributes(grid.geobox), grid.shard, grid.chunk)
    how = (config.year, config.ingest.calendar, source.settings(), config.ingest.min_valid_share, cells)
    of_settings = fingerprint_of(STAGE, VERSION, how)
    return IngestSettings(source, config.year, config.ingest.calendar, config.ingest.min_valid_share, of_settings)


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
