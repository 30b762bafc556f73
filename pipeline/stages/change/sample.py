"""A stratified random sample of the cells mapped in two years, with their classes in both years' reference maps.

The strata are the mapped transitions. Which cells are drawn depends on the seed and their places alone, not on shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.accuracy.probability_sample import Drawn, allocate, keys
from pipeline.base.locations import Location
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.cube.map_layers import LABEL
from pipeline.grid.grid import Grid, Shard
from pipeline.runtime.stage import run_shards
from pipeline.stages.change.pair import Pair, read_years
from pipeline.stages.context import Run

CLASSES: Final = (*SEASON_NAMES, "other")  # of a reference; other: no certain season, or no crop
_OTHER: Final = len(SEASON_NAMES)
_UNKNOWN: Final = layout.MISSING  # of cells that a reference does not know


@dataclass(frozen=True)
class SampledCells:
    """Sampled cells of every mapped transition, and their classes in the references; K labels, C classes."""

    drawn: np.ndarray  # (K K,)
    counts: np.ndarray  # (K K, C, C) by class of both years; without cells unknown in one


@dataclass(frozen=True)
class SampleTask:
    """Draw the cells of a shard that the sample of the country can have there."""

    pair: Pair
    references: tuple[Location, Location]
    size: int  # most cells of a transition
    seed: int

    def __call__(self, shard: Shard) -> Drawn:
        """Read labels and references of a shard and draw; a cell's value is C k + l, 255 where a class is unknown."""
        cube = stores.open_to_read(self.pair.cube)
        window = layout.read_grid(cube).window(shard)
        first, second = read_years(cube, LABEL, self.pair.years, window)
        y, x = np.nonzero((first != layout.MISSING) & (second != layout.MISSING))
        transition = first[y, x].astype(np.int64) * len(self.pair.names) + second[y, x]
        earlier, later = (_classes(path, window)[y, x] for path in self.references)
        known = (earlier != _UNKNOWN) & (later != _UNKNOWN)
        classes = np.where(known, earlier.astype(np.int64) * len(CLASSES) + later, _UNKNOWN)
        key = keys(self.seed, y + window[0].start, x + window[1].start)
        return Drawn.of(transition, key, classes, self.size)


def _classes(path: Location, window: tuple[slice, slice]) -> np.ndarray:
    """Read the class of every cell of a window of a reduced reference map: its season, 2 = other, 255 = unknown."""
    group = stores.open_to_read(path)
    season = stores.read_window(group, "season", window)
    other = (season == layout.MISSING) & (stores.read_window(group, "n_valid", window) > 0)
    return np.where(other, np.uint8(_OTHER), season)


def find_references(config: Config, years: tuple[int, int], grid: Grid) -> dict[int, Location]:
    """Return the years' reduced reference maps that are finished and on the grid."""
    found = {}
    for year in years:
        path = config.model_copy(update={"year": year}).reference_grid
        group = stores.find(path)
        if group is None or not layout.attributes(group)["complete"]:
            continue
        if layout.read_grid(group).geobox == grid.geobox and "n_valid" in stores.layer_names(group):
            found[year] = path
    return found


def sample_transitions(run: Run, pair: Pair, references: Mapping[int, Location], cells: np.ndarray) -> SampledCells:
    """Draw a sample of the cells mapped in both years, with the same number of cells of every transition.

    A transition with fewer cells is sampled whole, and the others get more.

    How many are drawn in all says evaluation.sample_size; which, the seed.

    Args:
        run: which run.
        pair: the years.
        references: reduced reference maps of both, by year.
        cells: (K, K) of every transition.

    Raises:
        ShardsFailed: some shards could not be read.
    """
    sizes = allocate([int(n) for n in cells.ravel()], run.config.evaluation.sample_size)
    first, second = (references[year] for year in pair.years)
    task = SampleTask(pair, (first, second), max(sizes), run.config.seed)
    sample = Drawn.empty(task.size)
    shards = layout.read_grid(stores.open_to_read(pair.cube)).shards
    for part in run_shards(run.executor, task, shards, "change sample", run.reporter):
        sample = sample + part
    found = [sample.values(transition, n) for transition, n in enumerate(sizes)]
    n_classes = len(CLASSES)
    counts = [np.bincount(values[values != _UNKNOWN], minlength=n_classes**2) for values in found]
    return SampledCells(np.array(sizes), np.stack(counts).reshape(-1, n_classes, n_classes))
