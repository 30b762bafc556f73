"""Strips: shards beside each other whose files are read once, and the work on one strip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from odc.geo.geobox import GeoBox

from pipeline.base.accounting import count_pixels
from pipeline.base.calendar import CalendarName, composite_dates, period_of
from pipeline.base.channel import Channel
from pipeline.base.errors import GranuleError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.channels import layer
from pipeline.cube.shard_writer import ShardWriter
from pipeline.grid.grid import Grid, Shard
from pipeline.sources.source import Scene, Source
from pipeline.stages.ingest.averaging import ShardAverage
from pipeline.stages.ingest.footprint import Footprint, density, footprint, window_of
from pipeline.stages.ingest.inventory import Inventory

STAGE: Final = Stage.INGEST


@dataclass(frozen=True)
class IngestSettings:
    """How observations become averages: all that a task needs besides its shards and scenes."""

    source: Source
    year: int
    calendar: CalendarName
    least: float  # share of a cell's land pixels that must be valid
    fingerprint: Fingerprint  # of all of this


class ShardInputs(NamedTuple):
    """What one shard is made from."""

    scenes: tuple[Scene, ...]  # that may have pixels in the shard
    fingerprint: Fingerprint  # of the settings and the scenes


@dataclass(frozen=True)
class Strip:
    """Shards beside each other in a row, whose scenes are read once for all of them: one task."""

    shards: tuple[Shard, ...]
    made_from: tuple[Fingerprint, ...]  # of each shard
    scenes: tuple[Scene, ...]  # that may have pixels in any of the shards

    def __str__(self) -> str:
        return "+".join(map(str, self.shards))


def layers(channels: Sequence[Channel]) -> list[layout.Layer]:
    """Return the arrays that ingest writes."""
    return [
        *(layer(channel, channel.name, cell_methods="area: mean (of valid observations)") for channel in channels),
        layout.Layer(
            "land_share", {"long_name": "share of pixels whose land cover has values at all", "units": "percent"}
        ),
        layout.Layer(
            "crop_biome",
            {
                "long_name": "share of observations in pixels of biome grass, cereal or broadleaf crop",
                "units": "percent",
            },
        ),
    ]


def shard_inputs(settings: IngestSettings, inventory: Inventory, grid: Grid) -> dict[Shard, ShardInputs]:
    """Return what every shard of the grid is made from.

    Shards that the same places touch share their inputs: there are few such sets, even among thousands of shards.
    """
    places = {scene.geobox for scene in inventory.scenes}
    of_places: dict[frozenset[GeoBox], ShardInputs] = {}
    inputs = {}
    for shard in grid.shards:
        cells = grid.shard_geobox(shard)
        near = frozenset(place for place in places if window_of(cells, place) is not None)
        if near not in of_places:
            scenes = tuple(scene for scene in inventory.scenes if scene.geobox in near)
            made_from = fingerprint_of(settings.fingerprint, inventory.inputs(scenes))
            of_places[near] = ShardInputs(scenes, made_from)
        inputs[shard] = of_places[near]
    return inputs


def strips_of(
    shards: Sequence[Shard],
    inputs: Mapping[Shard, ShardInputs],
    inventory: Inventory,
    settings: IngestSettings,
    grid: Grid,
) -> list[Strip]:
    """Group shards into strips as wide as the source decodes at once.

    Args:
        shards: that are to be done.
        inputs: of at least these shards, see `shard_inputs`.
        inventory: all scenes, in the order in which a strip reads them.
        settings: with the source.
        grid: of the cube.
    """
    width = strip_width(settings.source, grid)
    rows: dict[tuple[int, int], list[Shard]] = {}
    for shard in shards:
        rows.setdefault((shard.i, shard.j // width), []).append(shard)
    strips = []
    for members in rows.values():
        needed = {id(scene) for shard in members for scene in inputs[shard].scenes}
        scenes = tuple(scene for scene in inventory.scenes if id(scene) in needed)
        strips.append(Strip(tuple(members), tuple(inputs[shard].fingerprint for shard in members), scenes))
    return strips


def strip_width(source: Source, grid: Grid) -> int:
    """Return the number of shards of a whole strip: at most all shards of a row."""
    wanted = max(1, round(source.row_width / (grid.shard * abs(grid.geobox.transform.a))))
    return min(wanted, -(-grid.shape[1] // grid.shard))


def pixels_per_cell(grid: Grid, scenes: Sequence[Scene]) -> float:
    """Return the number of pixels of the finest scene that have the area of a cell; 1 where there are no scenes."""
    places = {scene.geobox for scene in scenes}
    return max((density(grid.geobox, place) for place in places), default=1.0)


def ingest_strip(settings: IngestSettings, writer: ShardWriter, strip: Strip) -> dict[Path, str]:
    """Write the shards of a strip; where files cannot be read, write nothing and return them with the reason."""
    grid = layout.read_grid(stores.open_to_read(writer.path))
    by_period: list[list[Scene]] = [[] for _ in composite_dates(settings.year, settings.calendar)]
    for scene in strip.scenes:
        by_period[period_of(scene.day, settings.calendar)].append(scene)
    places = {scene.geobox for scene in strip.scenes}
    averages, footprints = [], []
    for shard in strip.shards:
        cells = grid.shard_geobox(shard)
        of_shard = {place: where for place in places if (where := footprint(cells, place))}
        capacity = _capacity(cells, of_shard, by_period)
        averages.append(ShardAverage(cells.shape, settings.source.channels, len(by_period), settings.least, capacity))
        footprints.append(of_shard)
    if unreadable := _average(settings.source, by_period, footprints, averages):
        return unreadable
    for shard, made_from, average in zip(strip.shards, strip.made_from, averages, strict=True):
        arrays = average.arrays()
        writer.write(grid, shard, arrays.items(), made_from, counts=dict(average.counts))
        count_pixels(arrays["land_share"].size)
    return {}


def _average(
    source: Source,
    by_period: Sequence[Sequence[Scene]],
    footprints: Sequence[Mapping[GeoBox, Footprint]],
    averages: Sequence[ShardAverage],
) -> dict[Path, str]:
    """Add all scenes to the averages of the shards, period by period; return files that cannot be read.

    Args:
        source: reads the scenes.
        by_period: the scenes of every period of the calendar.
        footprints: of each shard, by place.
        averages: of each shard.
    """
    unreadable: dict[Path, str] = {}
    for index, scenes in enumerate(by_period):
        for scene in scenes:
            try:
                _add_scene(scene, source, [of_shard.get(scene.geobox) for of_shard in footprints], averages)
            except GranuleError as error:
                unreadable[scene.path] = str(error)
        for average in averages:
            average.end_period(index)
    return unreadable


def _capacity(cells: GeoBox, footprints: dict[GeoBox, Footprint], by_period: list[list[Scene]]) -> np.ndarray:
    """Count the pixels of each cell (cells,) in the period with the most: every date may have an extent of its own."""
    most = np.zeros(cells.shape[0] * cells.shape[1], np.int64)
    for places in {frozenset(scene.geobox for scene in scenes) for scenes in by_period}:
        pixels = np.zeros_like(most)
        for place in places & footprints.keys():
            pixels += np.bincount(footprints[place].cells, minlength=most.size)
        np.maximum(most, pixels, out=most)
    return most


def _add_scene(
    scene: Scene, source: Source, footprints: Sequence[Footprint | None], averages: Sequence[ShardAverage]
) -> None:
    """Read a scene once for all shards of the strip that it touches, and add it to their averages."""
    touched = [(where, average) for where, average in zip(footprints, averages, strict=True) if where]
    if not touched:
        return
    top, bottom = min(w.rows.start for w, _ in touched), max(w.rows.stop for w, _ in touched)
    left, right = min(w.columns.start for w, _ in touched), max(w.columns.stop for w, _ in touched)
    raw = source.read(scene, slice(top, bottom), slice(left, right))
    decoded = []
    for where, _ in touched:
        rows = slice(where.rows.start - top, where.rows.stop - top)
        columns = slice(where.columns.start - left, where.columns.stop - left)
        decoded.append(source.decode({name: where.pick(layer[rows, columns]) for name, layer in raw.items()}))
    for (where, average), pixels in zip(touched, decoded, strict=True):
        average.add(where, pixels)
