"""Ingest: average a year of observations over the valid ones onto the grid, shard by shard, into `cube.zarr`.

Every shard has a record of the content that it was made from: new or replaced files redo the shards that they touch.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.base.calendar import AsOf, composite_dates
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.grid import Grid, Shard, cells_inside, make_grid
from pipeline.grid.polygons import read_outline
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.sources.source import Source
from pipeline.stages.context import Run
from pipeline.stages.ingest.footprint import window_of
from pipeline.stages.ingest.inventory import (
    Inventory,
    Observations,
    refuse_too_few,
    take_inventory,
    without_unreadable,
)
from pipeline.stages.ingest.quality import quality_shares, report_quality
from pipeline.stages.ingest.strips import (
    STAGE,
    IngestSettings,
    ShardInputs,
    Strip,
    ingest_strip,
    layers,
    pixels_per_cell,
    shard_inputs,
    strip_width,
    strips_of,
)
from pipeline.stages.memory import ingest_bytes, work_of
from pipeline.stages.shard_stage import ShardStage
from pipeline.stages.sources import open_source

VERSION: Final = 4  # raise it when the same files would produce other numbers
_UNDECODABLE: Final = "undecodable"  # attribute: by content digest, files whose pixels could not be read
_QUALITY_ATTRIBUTES: Final = ("qc_policy", "qc_rules", "quality", "simulated")  # that the result of the stage repeats


def ingest(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Average a year of observations onto the grid.

    Writes `cube.zarr`: every channel (time, y, x) in its own coding, land_share and crop_biome (y, x) in percent.

    Args:
        config: what to read and onto which grid.
        executor: where files are checked and shards worked on; in this process if None.
        reporter: where progress is reported; nowhere if None.

    Raises:
        UserError: there are no files, too many are missing or bad, or the output cannot be written.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, executor, reporter)
    intake = take_in(run)
    stage, inventory = intake.stage, intake.inventory
    if stage.is_finished():
        group = stores.open_to_read(config.cube)
        about, found = layout.attributes(group), inventory.attributes()
        if any(about.get(name) != value for name, value in found.items()):
            stores.open_to_write(config.cube).update_attributes(dict(found))  # a bad file more changes no number
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
    report_quality(quality, run.reporter)
    stage.finish(_fingerprint(intake.settings, inventory), quality=quality, **inventory.attributes())
    about = layout.attributes(stores.open_to_read(config.cube))
    return StageResult(STAGE, True, (config.cube,), _facts(about, inventory))


class Intake(NamedTuple):
    """What there is to ingest, and onto which grid: all that decides whether a cube is made from it."""

    observations: Observations
    settings: IngestSettings
    inventory: Inventory
    inputs: Mapping[Shard, ShardInputs]
    stage: ShardStage  # the cube that would be made

    def of(self, inventory: Inventory) -> "Intake":
        """Return the intake of another inventory, for the store that has been begun."""
        inputs = shard_inputs(self.settings, inventory, self.stage.grid)
        stage = replace(self.stage, made_from=_made_from(inputs))
        return self._replace(inventory=inventory, inputs=inputs, stage=stage)


def take_in(run: Run) -> Intake:
    """Open every file of the year, and write nothing.

    Raises:
        UserError: there are no files, too many are missing or bad, or none of them reaches the region.
    """
    config = run.config
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    source = open_source(config)
    as_of = AsOf(config.ingest.as_of, config.ingest.calendar)
    observations = Observations(source, config.observations, outline, as_of)
    settings = _settings(config, source, grid)
    known = stores.find(config.cube)
    undecodable = layout.attributes(known).get(_UNDECODABLE, {}) if known is not None else {}
    inventory = take_inventory(run, observations, undecodable)
    _refuse_too_few(inventory, config)
    _refuse_elsewhere(inventory, grid, config)
    inputs = shard_inputs(settings, inventory, grid)
    return Intake(observations, settings, inventory, inputs, _stage(config, settings, inventory, grid, inputs))


def _settings(config: Config, source: Source, grid: Grid) -> IngestSettings:
    """Return how observations become averages on the grid."""
    cells = (layout.spatial_attributes(grid.geobox), grid.shard, grid.chunk)
    how = (config.year, config.ingest.calendar, source.settings(), config.ingest.min_valid_share, cells)
    of_settings = fingerprint_of(STAGE, VERSION, how)
    return IngestSettings(source, config.year, config.ingest.calendar, config.ingest.min_valid_share, of_settings)


def _fingerprint(settings: IngestSettings, inventory: Inventory) -> Fingerprint:
    """Return the fingerprint of a cube: of the settings and of the content of every file."""
    return fingerprint_of(settings.fingerprint, inventory.inputs(inventory.scenes))


def _made_from(inputs: Mapping[Shard, ShardInputs]) -> dict[Shard, Fingerprint]:
    return {shard: one.fingerprint for shard, one in inputs.items()}


def _stage(
    config: Config,
    settings: IngestSettings,
    inventory: Inventory,
    grid: Grid,
    inputs: Mapping[Shard, ShardInputs],
) -> ShardStage:
    """Return what ingest writes from the files of the inventory."""
    source, days = settings.source, composite_dates(config.year, config.ingest.calendar)
    cells = cells_inside(grid, read_outline(config.region.outline))
    work = work_of(grid, source.channels, len(days), cells)
    return ShardStage(
        STAGE,
        config.cube,
        _fingerprint(settings, inventory),
        grid,
        tuple(layers(source.channels)),
        _made_from(inputs),
        method=settings.fingerprint,
        axes=(layout.time_axis(days),),
        about=_about(config, source, inventory),
        cells=cells,
        work=work.reading(strip_width(source, grid), pixels_per_cell(grid, inventory.scenes)),
        memory=ingest_bytes,
    )


def strips_left(intake: Intake) -> list[Strip]:
    """Return the strips that are still to be done: all of them where the cube was made by another method."""
    stage = intake.stage
    return strips_of(stage.to_do(), intake.inputs, intake.inventory, intake.settings, stage.grid)


def _do_strips(run: Run, intake: Intake) -> Inventory:
    """Do every shard that is not made from this content, and return the inventory of the files that were used.

    A file whose pixels cannot be read in one shard is used in none: shards that had used other parts of it are done
    again.
    """
    stage = intake.stage
    undecodable = dict(layout.attributes(stores.open_to_read(stage.path)).get(_UNDECODABLE, {}))
    task = partial(ingest_strip, intake.settings, stage.writer)
    while strips := strips_left(intake):
        unreadable: dict[Path, str] = {}
        for found in stage.do_shards(run, task, strips):
            unreadable |= found
        for path, reason in unreadable.items():
            run.reporter.message(f"set aside: {reason}")
            undecodable[intake.inventory.digests[path]] = reason
        if unreadable:
            stores.open_to_write(stage.path).update_attributes({_UNDECODABLE: undecodable})
            intake = intake.of(without_unreadable(intake.inventory, intake.observations, unreadable))
    return intake.inventory


def _refuse_too_few(inventory: Inventory, config: Config) -> None:
    """Refuse an inventory of which too much is missing, see `refuse_too_few`."""
    way_out = "Fetch them again, or give the day with --as-of if the year is still running."
    if config.raster.folder is not None:
        way_out = f"Check raster.files and ingest.calendar ({config.ingest.calendar})."
    refuse_too_few(inventory, config.observations, config.ingest.max_missing_share, way_out)


def _refuse_elsewhere(inventory: Inventory, grid: Grid, config: Config) -> None:
    """Refuse files of which none reaches the region: a wrong reference system shows in this way.

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


def _about(config: Config, source: Source, inventory: Inventory) -> dict[str, object]:
    """Return the attributes of the cube."""
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
        **inventory.attributes(),
    }


def _facts(about: Mapping[str, object], inventory: Inventory) -> dict[str, object]:
    """Return the files that were used and the quality of their pixels, from the attributes of a cube."""
    return {**inventory.attributes(), **{name: about[name] for name in _QUALITY_ATTRIBUTES if name in about}}
