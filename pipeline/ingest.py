"""Ingest: a year of observations becomes `cube.zarr`, averaged onto the grid over valid observations, shard by shard.

Every shard keeps a record of the content it was made from: new or replaced files redo the shards that they touch.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox

from pipeline import layout, stores
from pipeline.averaging import ShardAverage
from pipeline.calendar import CalendarName, composite_dates, period_of
from pipeline.channels import layer
from pipeline.config import Config
from pipeline.errors import GranuleError
from pipeline.executor import Executor, InProcess
from pipeline.fingerprint import fingerprint
from pipeline.footprint import Footprint, footprint, window_of
from pipeline.grid import Grid, Shard, make_grid, read_outline
from pipeline.progress import Reporter, Silent
from pipeline.sources.choice import open_source
from pipeline.sources.quality import ACCEPTED, OBSERVED
from pipeline.sources.source import Channel, Scene, Source
from pipeline.stage import StageResult, run_shards
from pipeline.stock import Stock, refuse_too_few, set_aside, take_stock

STAGE: Final = "ingest"
VERSION: Final = 2  # raised when the same files would give other numbers
_UNDECODABLE: Final = "undecodable"  # attribute: files found bad while their pixels were read, by content


@dataclass(frozen=True)
class Method:
    """How observations become averages: all that a task needs to know besides its shards and scenes."""

    path: Path
    source: Source
    year: int
    calendar: CalendarName
    least: float
    mark: str  # fingerprint of all of this


@dataclass(frozen=True)
class Strip:
    """Shards beside each other in a row, whose scenes are read once for all of them: one task."""

    shards: tuple[Shard, ...]
    marks: tuple[str, ...]  # of the shards: fingerprints of what they are made from
    scenes: tuple[Scene, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.shards))


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
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    source = open_source(config)
    method = _method(config, source, grid)
    path = config.cube
    known = stores.find(path)
    undecodable = layout.attributes(known).get(_UNDECODABLE, {}) if known is not None else {}
    stock = take_stock(source, config.observations, outline, undecodable, executor, reporter)
    refuse_too_few(stock, config.observations, config.ingest.max_missing_share)
    mark = fingerprint(method.mark, stock.inputs(stock.scenes))
    if known is not None and stores.is_finished(known, STAGE, mark):
        about = layout.attributes(known)
        if any(about.get(name) != value for name, value in _found(stock).items()):
            stores.open_to_write(path).attrs.update(_found(stock))  # a file more that is bad changes no number
        return StageResult(STAGE, False, (path,), _facts(layout.attributes(known), stock))
    group = stores.begin(
        path,
        STAGE,
        mark,
        grid,
        layers(source.channels),
        axes=[layout.time_axis(composite_dates(config.year, config.ingest.calendar))],
        about=_about(config, source, stock),
        method=method.mark,
    )
    without = partial(set_aside, source=source, folder=config.observations, outline=outline)
    stock = _work_off(stock, method, grid, without, executor, reporter)
    refuse_too_few(stock, config.observations, config.ingest.max_missing_share)
    records = stores.read_records(path, STAGE, grid.shards).values()
    quality = quality_shares(sum((Counter(record["counts"]) for record in records), Counter()))
    stores.finish(group, STAGE, fingerprint(method.mark, stock.inputs(stock.scenes)), quality=quality, **_found(stock))
    return StageResult(STAGE, True, (path,), _facts(layout.attributes(group), stock))


def layers(channels: Sequence[Channel]) -> list[layout.Layer]:
    """The arrays that ingest writes."""
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


def _method(config: Config, source: Source, grid: Grid) -> Method:
    cells = (layout.spatial_attributes(grid.geobox), grid.shard, grid.chunk)
    how = (config.year, config.ingest.calendar, source.settings(), config.ingest.min_valid_share, cells)
    mark = fingerprint(STAGE, VERSION, how)
    return Method(config.cube, source, config.year, config.ingest.calendar, config.ingest.min_valid_share, mark)


def _about(config: Config, source: Source, stock: Stock) -> dict[str, Any]:
    about = source.about(stock.scenes)
    if stock.simulated:
        about["source"] += f" ({stock.simulated})"
    names = ", ".join(channel.long_name for channel in source.channels)
    return {
        "title": f"{names}: {config.region.name}, {config.year}",
        "channels": [channel.name for channel in source.channels],
        "composites": config.ingest.calendar,
        "has_biomes": source.has_crop,
        "simulated": stock.simulated,
        **about,
        "qc_rules": {rule.name: rule.describe() for rule in source.rules},
        **_found(stock),
    }


def _found(stock: Stock) -> dict[str, Any]:
    return {
        "granules": len(stock.scenes),
        "bad_granules": dict(stock.bad),
        "missing_granules": list(stock.missing),
    }


def _facts(about: dict[str, Any], stock: Stock) -> dict[str, Any]:
    told = ("qc_policy", "qc_rules", "quality", "simulated")
    return {**_found(stock), **{name: about[name] for name in told if name in about}}


def _work_off(
    stock: Stock,
    method: Method,
    grid: Grid,
    without: Callable[..., Stock],
    executor: Executor,
    reporter: Reporter,
) -> Stock:
    """Do every shard that is not made from this very content; files whose pixels cannot be read leave the stock.

    A file that fails in one shard is left out everywhere: shards that had used other parts of it are done once more.
    """
    undecodable = dict(layout.attributes(stores.open_to_read(method.path)).get(_UNDECODABLE, {}))
    while strips := list(_strips_to_do(stock, method, grid)):
        unreadable: dict[Path, str] = {}
        for found in run_shards(executor, partial(ingest_strip, method), strips, STAGE, reporter):
            unreadable |= found
        for path, reason in unreadable.items():
            reporter.message(f"set aside: {reason}")
            undecodable[stock.digests[path]] = reason
        if unreadable:
            stores.open_to_write(method.path).attrs.update({_UNDECODABLE: undecodable})
            stock = without(stock, unreadable=unreadable)
    return stock


def _strips_to_do(stock: Stock, method: Method, grid: Grid) -> Iterator[Strip]:
    """The shards that are missing or made from other content, in strips as wide as the source decodes at once."""
    names = [each.name for each in layers(method.source.channels)]
    unwritten = set(stores.shards_to_do(method.path, names, grid))
    records = stores.read_records(method.path, STAGE, grid.shards)
    touching = _scenes_by_shard(stock.scenes, grid)
    marks = {shard: fingerprint(method.mark, stock.inputs(touching[shard])) for shard in grid.shards}
    width = max(1, round(method.source.row_width / (grid.shard * abs(grid.geobox.transform.a))))
    strips: dict[tuple[int, int], list[Shard]] = {}
    for shard in grid.shards:
        if shard in unwritten or records.get(shard, {}).get("mark") != marks[shard]:
            strips.setdefault((shard.i, shard.j // width), []).append(shard)
    for shards in strips.values():
        needed = {id(scene) for shard in shards for scene in touching[shard]}
        scenes = tuple(scene for scene in stock.scenes if id(scene) in needed)
        yield Strip(tuple(shards), tuple(marks[shard] for shard in shards), scenes)


def _scenes_by_shard(scenes: Sequence[Scene], grid: Grid) -> dict[Shard, tuple[Scene, ...]]:
    """For every shard, the scenes that may have pixels in it."""
    places = {scene.geobox for scene in scenes}
    found = {}
    for shard in grid.shards:
        cells = grid.shard_geobox(shard)
        near = {place for place in places if window_of(cells, place) is not None}
        found[shard] = tuple(scene for scene in scenes if scene.geobox in near)
    return found


def ingest_strip(method: Method, strip: Strip) -> dict[Path, str]:
    """Write the shards of a strip; where files cannot be read, write nothing and return them with the reason."""
    group = stores.open_to_write(method.path)
    grid = layout.read_grid(group)
    by_period: list[list[Scene]] = [[] for _ in composite_dates(method.year, method.calendar)]
    for scene in strip.scenes:
        by_period[period_of(scene.day, method.calendar)].append(scene)
    places = {scene.geobox for scene in strip.scenes}
    averages, footprints = [], []
    for shard in strip.shards:
        cells = grid.shard_geobox(shard)
        of_shard = {place: where for place in places if (where := footprint(cells, place))}
        capacity = _capacity(cells, of_shard, by_period)
        averages.append(ShardAverage(cells.shape, method.source.channels, len(by_period), method.least, capacity))
        footprints.append(of_shard)
    unreadable: dict[Path, str] = {}
    for index, scenes in enumerate(by_period):
        for scene in scenes:
            try:
                _add_scene(scene, method.source, [of_shard.get(scene.geobox) for of_shard in footprints], averages)
            except GranuleError as error:
                unreadable[scene.path] = str(error)
        for average in averages:
            average.end_period(index)
    if unreadable:
        return unreadable
    for shard, mark, average in zip(strip.shards, strip.marks, averages, strict=True):
        stores.discard_record(group, STAGE, shard)
        for name, values in average.arrays().items():
            stores.write_shard(group, name, grid, shard, values)
        stores.write_record(group, STAGE, shard, {"mark": mark, "counts": dict(average.counts)})
    return {}


def _capacity(cells: GeoBox, footprints: dict[GeoBox, Footprint], by_period: list[list[Scene]]) -> np.ndarray:
    """Pixels that each cell holds on the best-covered date: files of every date may have an extent of their own."""
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
    """Read a scene once, for all shards of the strip that it touches."""
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
