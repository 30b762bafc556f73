"""The map of what changed between two years, `change.zarr`, from the cluster cube shard by shard."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import zarr

from pipeline.base.accounting import count_pixels
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.cube import layout, stores
from pipeline.cube.label_names import in_words
from pipeline.cube.map_layers import CONFIDENCE, LABEL
from pipeline.grid.grid import Shard
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import run_shards
from pipeline.stages.change.transitions import MOST_LABELS, SCALE, both_right, transition_codes, transition_names

STAGE: Final = "change"
VERSION: Final = 1
CHANGE: Final = "change"
CHANGE_CONFIDENCE: Final = "change_confidence"
_LAYERS: Final = (CHANGE, CHANGE_CONFIDENCE)


@dataclass(frozen=True)
class Pair:
    """Two years of a cluster cube that can be compared."""

    cube: Location
    years: tuple[int, int]  # the earlier one first
    maps: tuple[str, str]  # fingerprints of what the cube holds of them
    names: tuple[str, ...]  # of the labels

    @property
    def mark(self) -> str:
        """Fingerprint of the map of change."""
        return fingerprint_of(STAGE, VERSION, self.years, self.maps, self.names)


@dataclass(frozen=True)
class Counts:
    """Cells by transition, and how sure they are; they add up over shards."""

    cells: np.ndarray  # (K, K) from label i to label j
    only: np.ndarray  # (2, K) mapped in the earlier or the later year alone, by label
    sure: np.ndarray  # (K, K) cells whose confidence is known in both years
    both_right: np.ndarray  # (K, K) sum over these of the probability that both labels are right, in 1/10,000

    @classmethod
    def empty(cls, n_labels: int) -> "Counts":
        """No cells."""
        square = np.zeros((n_labels, n_labels), np.int64)
        return cls(square, np.zeros((2, n_labels), np.int64), square, square)

    @classmethod
    def of(cls, label: np.ndarray, confidence: np.ndarray, n_labels: int) -> "Counts":
        """Count the cells of label and confidence (2, y, x), uint8, 255 = missing."""
        first, second = label
        both = (first != layout.MISSING) & (second != layout.MISSING)
        pairs = first[both].astype(np.int64) * n_labels + second[both]
        q1, q2 = (q[both] for q in confidence)
        known = (q1 != layout.MISSING) & (q2 != layout.MISSING)
        sure, right = pairs[known], both_right(q1[known], q2[known])
        n = n_labels**2
        # sums of whole numbers below 2 ** 53, exact in floating point
        sums = np.bincount(sure, weights=right, minlength=n).astype(np.int64)
        only = [np.bincount(label[k][~both & (label[k] != layout.MISSING)], minlength=n_labels) for k in (0, 1)]
        shape = (n_labels, n_labels)
        return cls(
            np.bincount(pairs, minlength=n).reshape(shape),
            np.stack(only),
            np.bincount(sure, minlength=n).reshape(shape),
            sums.reshape(shape),
        )

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.cells + other.cells,
            self.only + other.only,
            self.sure + other.sure,
            self.both_right + other.both_right,
        )

    def as_json(self) -> dict[str, Any]:
        """For a record; `from_json` reads it."""
        return {name: getattr(self, name).tolist() for name in ("cells", "only", "sure", "both_right")}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Counts":
        """What `as_json` gave."""
        cells, only, sure, right = (
            np.array(record[name], np.int64) for name in ("cells", "only", "sure", "both_right")
        )
        return cls(cells, only, sure, right)


def find_pair(path: Location, years: tuple[int, int]) -> Pair:
    """Two years of a cluster cube.

    Raises:
        UserError: there is no cube, it lacks a year, or the labels of the years do not mean the same.
    """
    group = stores.require(path, "publish", "publish")
    about = layout.attributes(group)
    maps: dict[str, str] = about["maps"]
    if missing := [year for year in years if str(year) not in maps]:
        raise UserError(
            f"{path} holds no {missing[0]}, only {', '.join(sorted(maps))}: run `sitscube run --year {missing[0]}` "
            "with the same --out first."
        )
    earlier, later = sorted(years)
    if earlier == later:
        raise UserError(f"change is between two years, and {earlier} was named twice.")
    first, second = (names_in(group, year) for year in (earlier, later))
    if first != second:
        raise UserError(
            f"the labels of {earlier} ({', '.join(first)}) and {later} ({', '.join(second)}) in {path} do not mean the "
            "same: years can be compared whose labels have the same names. Map both with the same training.clusters "
            "and preparation.cropland."
        )
    if len(first) > MOST_LABELS:
        raise UserError(f"{path} has {len(first)} labels: changes between {MOST_LABELS} at most can be mapped.")
    return Pair(path, (earlier, later), (maps[str(earlier)], maps[str(later)]), first)


def names_in(cube: zarr.Group, year: int) -> tuple[str, ...]:
    """Names of the labels of a year of a cluster cube; cubes of old have one list for all years."""
    shared = layout.attributes(layout.array(cube, LABEL))["flag_meanings"]
    names: str = layout.attributes(cube).get("label_names", {}).get(str(year), shared)
    return tuple(names.split())


def read_years(cube: zarr.Group, name: str, years: tuple[int, int], window: tuple[slice, slice]) -> np.ndarray:
    """Two years of an array of the cluster cube, (2, y, x), as stored."""
    held = np.asarray(layout.array(cube, "year")[:]).tolist()
    values = layout.array(cube, name)
    return np.stack([np.asarray(values[held.index(year), window[0], window[1]]) for year in years])


@dataclass(frozen=True)
class ChangeTask:
    """The work on one shard: read both years, compare, write."""

    pair: Pair
    target: Location

    def __call__(self, shard: Shard) -> int:
        """Write one shard; gives the number of cells mapped in both years."""
        cube = stores.open_to_read(self.pair.cube)
        grid, n_labels = layout.read_grid(cube), len(self.pair.names)
        label, confidence = (
            read_years(cube, name, self.pair.years, grid.window(shard)) for name in (LABEL, CONFIDENCE)
        )
        counts = Counts.of(label, confidence, n_labels)
        known = (label != layout.MISSING).all(axis=0) & (confidence != layout.MISSING).all(axis=0)
        percent = np.rint(both_right(confidence[0], confidence[1]) / (SCALE / 100)).astype(np.uint8, casting="unsafe")
        layers = {
            CHANGE: transition_codes(label[0], label[1], n_labels),
            CHANGE_CONFIDENCE: np.where(known, percent, np.uint8(layout.MISSING)),
        }
        with stores.writing(self.target, STAGE, self.pair.mark) as group:
            stores.discard_record(group, STAGE, shard)
            for name, data in layers.items():
                stores.write_shard(group, name, grid, shard, data)
            stores.write_record(group, STAGE, shard, {"mark": self.pair.mark, **counts.as_json()})
        count_pixels(label[0].size)
        return int(counts.cells.sum())


def map_change(pair: Pair, target: Location, executor: Executor, reporter: Reporter) -> Counts:
    """Write `change.zarr`, unless it is there, and count its cells.

    Arrays (y, x), uint8: `change`, codes of `transition_codes`; `change_confidence`, the probability in percent that
    both labels of the cell are right, the product of their confidences: it takes the soft assignments q for
    probabilities and the errors of both years for independent.

    Raises:
        UserError: the store cannot be written.
        ShardsFailed: some shards could not be done.
    """
    cube = stores.open_to_read(pair.cube)
    grid, mark = layout.read_grid(cube), pair.mark
    if not stores.is_finished(stores.find(target), STAGE, mark):
        simulated = layout.attributes(cube)["simulated"]
        about = {
            "title": f"change of labels from {pair.years[0]} to {pair.years[1]}",
            "years": list(pair.years),
            "labels": list(pair.names),
            "simulated": simulated,
        }
        group = stores.begin(target, STAGE, mark, grid, _layers(pair), about=about)
        todo = stores.shards_to_do(target, STAGE, mark, _LAYERS, grid)
        for _ in run_shards(executor, ChangeTask(pair, target), todo, STAGE, reporter):
            pass
        stores.finish(group, STAGE, mark)
    counts = Counts.empty(len(pair.names))
    for record in stores.read_records(target, STAGE, grid.shards).values():
        counts = counts + Counts.from_json(record)
    return counts


def _layers(pair: Pair) -> list[layout.Layer]:
    names = transition_names(pair.names, pair.years)
    listed = ", ".join(in_words(name) for name in pair.names)
    change = {
        "long_name": f"change of the label ({listed}) from {pair.years[0]} to {pair.years[1]}",
        "flag_values": list(range(len(names))),
        "flag_meanings": " ".join(names),
    }
    confidence = {
        "long_name": "probability that the labels of both years are right, if they err independently",
        "units": "percent",
    }
    return [layout.Layer(CHANGE, change), layout.Layer(CHANGE_CONFIDENCE, confidence)]
