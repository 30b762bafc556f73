"""Change between two years of the cluster cube: its map, areas with their uncertainty, pictures and a page."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from pipeline.base import locks
from pipeline.base.errors import UserError
from pipeline.base.files import read_text, remove_file, write_bytes, write_text
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.label_names import in_words
from pipeline.cube.map_layers import LABEL
from pipeline.grid.grid import cell_area_km2, is_equal_area
from pipeline.grid.polygons import LONLAT, project, read_outline
from pipeline.reports import figures
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.stages.change.facts import ChangeFacts, DescribedFacts
from pipeline.stages.change.files import OUTPUTS, as_csv, page, write_rasters
from pipeline.stages.change.map import CHANGE, Counts, map_change
from pipeline.stages.change.pair import STAGE, Pair, find_pair, read_years
from pipeline.stages.change.sample import SampledCells, find_references, sample_transitions
from pipeline.stages.change.summary import summarise
from pipeline.stages.context import Run

VERSION: Final = 1
_RECORD: Final = "change.json"  # the last file that is written: without it there is no finished change
_WIDEST: Final = 1000  # cells along an edge of a picture


def change(
    config: Config, years: tuple[int, int], executor: Executor | None = None, reporter: Reporter | None = None
) -> StageResult:
    """Compare two years of the region's cluster cube and write the change between them.

    Writes into `<out>/<region>/change/<earlier>-<later>/`: change.zarr (the map: `change`, `change_confidence`), both
    as GeoTIFFs with a style for QGIS, change.json and change.csv (the same numbers), change.png and index.html. Where
    the reference maps of both years have been reduced to the grid, areas of true transitions are estimated from a
    stratified random sample of the mapped ones: their classes are looked up in both.

    Args:
        config: of the region; its seed and evaluation.sample_size draw the sample.
        years: two of the cluster cube, in any order.
        executor: works through the shards.
        reporter: receives the progress.

    Raises:
        UserError: a year is not in the cube, labels do not mean the same in both, or an output cannot be written.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, executor, reporter)
    # no other run may replace a year of the common cube until this one has ended
    with locks.hold(config.region_folder, f"sitscube change --years {min(years)} {max(years)}", wait=True):
        pair = find_pair(config.clusters, years)
        folder, grid = change_folder(config, pair.years), layout.read_grid(stores.open_to_read(pair.cube))
        references = find_references(config, pair.years, grid)
        fingerprint = change_fingerprint(config, pair.years, pair.maps, references)
        outputs = tuple(folder / name for name in OUTPUTS)
        written = read_change(config, pair.years)
        if written is not None and written["fingerprint"] == fingerprint and all(path.exists() for path in outputs):
            return StageResult(STAGE, False, outputs, {**written})
        try:
            remove_file(folder / _RECORD)
            counts = map_change(run, pair, folder / "change.zarr")
            described = _describe(run, pair, counts, references)
            facts: ChangeFacts = {**described, "fingerprint": fingerprint}
            write_rasters(folder, pair)
            picture = _picture(config, pair, folder)
            write_bytes(folder / "change.png", picture)
            write_text(folder / "change.csv", as_csv(facts))
            write_text(folder / "index.html", page(facts, picture))
            write_text(folder / _RECORD, json.dumps(facts, indent=1, sort_keys=True, allow_nan=False) + "\n")
        except OSError as error:
            raise UserError(
                f"cannot write into {folder}: {error.strerror or error}. Free space or choose another --out."
            ) from None
        return StageResult(STAGE, True, outputs, {**facts})


def pairs_of(years: Sequence[int]) -> list[tuple[int, int]]:
    """Return the pairs that are compared: each year with the next, and of more than two the first with the last.

    Raises:
        UserError: there are not two different years.
    """
    known = sorted(set(years))
    if len(known) < 2:
        there = f"only {known[0]} is there" if known else "there is none"
        raise UserError(f"change is between years, and {there}: two or more are needed, as in --years 2018 2021.")
    return [*pairwise(known), *([(known[0], known[-1])] if len(known) > 2 else [])]


def change_folder(config: Config, years: tuple[int, int]) -> Location:
    """Return the folder of the change between two years, the earlier one first."""
    return config.region_folder / "change" / f"{years[0]}-{years[1]}"


def read_change(config: Config, years: tuple[int, int]) -> ChangeFacts | None:
    """Read `change.json`; None where there is none that can be read."""
    try:
        facts: ChangeFacts = json.loads(read_text(change_folder(config, years) / _RECORD))
    except (FileNotFoundError, ValueError):  # a damaged one is written again
        return None
    return facts


def change_fingerprint(
    config: Config, years: tuple[int, int], maps: tuple[str, str], references: Mapping[int, Location]
) -> str:
    """Return the fingerprint of a change: of both maps, both references, and the sample."""
    of_references = [stores.stage_fingerprint_at(path, Stage.REFERENCE) for path in references.values()]
    return fingerprint_of(STAGE, VERSION, years, maps, of_references, config.evaluation.sample_size, config.seed)


def _describe(run: Run, pair: Pair, counts: Counts, references: Mapping[int, Location]) -> DescribedFacts:
    """Return the content of change.json without its fingerprint; the references are sampled for it."""
    cube = stores.open_to_read(pair.cube)
    grid = layout.read_grid(cube)
    sample: SampledCells | None = None
    sources: dict[str, str] = {}
    if len(references) == len(pair.years):
        sample = sample_transitions(run, pair, references, counts.cells)
        for year, path in references.items():
            about = layout.attributes(stores.open_to_read(path))
            sources[str(year)] = about["source"] + (" (simulated)" if about["simulated"] else "")
    return {
        "region": run.config.region.name,
        "simulated": layout.attributes(cube)["simulated"],
        "grid": grid.name,
        "references": sources,
        "years_without_reference": [year for year in pair.years if year not in references],
        "equal_area": is_equal_area(grid.geobox),
        **summarise(pair, counts, sample, cell_area_km2(grid.geobox)),
    }


def _picture(config: Config, pair: Pair, folder: Location) -> bytes:
    cube, result = stores.open_to_read(pair.cube), stores.open_to_read(folder / "change.zarr")
    grid = layout.read_grid(result)
    step = max(1, -(-max(grid.shape) // _WIDEST))
    every = slice(None, None, step)
    label = read_years(cube, LABEL, pair.years, (every, every))
    change = np.asarray(layout.array(result, CHANGE)[every, every])
    outline = project(read_outline(config.region.outline), LONLAT, grid.geobox.crs)
    title = f"{config.region.name.capitalize()}: {pair.years[0]} and {pair.years[1]}"
    if layout.attributes(cube)["simulated"]:
        title += " (simulated)"
    names = [in_words(name) for name in pair.names]
    return figures.change_maps(label, change, grid.geobox, outline, names, pair.years, title)
