"""The map of change between two years, `change.zarr`, made from the cluster cube shard by shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.base.accounting import count_pixels
from pipeline.base.locations import Location
from pipeline.cube import layout, stores
from pipeline.cube.label_names import in_words
from pipeline.cube.map_layers import CONFIDENCE, LABEL
from pipeline.cube.shard_writer import ShardWriter
from pipeline.grid.grid import Shard
from pipeline.stages.change.pair import STAGE, Pair, read_years
from pipeline.stages.change.transitions import SCALE, both_right, transition_codes, transition_names
from pipeline.stages.context import Run
from pipeline.stages.shard_stage import ShardStage

CHANGE: Final = "change"
CHANGE_CONFIDENCE: Final = "change_confidence"
_LAYERS: Final = (CHANGE, CHANGE_CONFIDENCE)


@dataclass(frozen=True)
class Counts:
    """Cells by transition, and their confidence; counts of shards add up."""

    cells: np.ndarray  # (K, K) from label i to label j
    only: np.ndarray  # (2, K) mapped in the earlier or the later year alone, by label
    sure: np.ndarray  # (K, K) cells whose confidence is known in both years
    both_right: np.ndarray  # (K, K) sum of the probability that both labels are right over `sure`, in 1/10,000

    @classmethod
    def empty(cls, n_labels: int) -> "Counts":
        """Return counts of no cells."""
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

    def as_json(self) -> dict[str, list[list[int]]]:
        """Return the counts for a record, see `from_json`."""
        return {name: getattr(self, name).tolist() for name in ("cells", "only", "sure", "both_right")}

    @classmethod
    def from_json(cls, record: Mapping[str, object]) -> "Counts":
        """Read the counts of a record, see `as_json`."""
        cells, only, sure, right = (
            np.array(record[name], np.int64) for name in ("cells", "only", "sure", "both_right")
        )
        return cls(cells, only, sure, right)


@dataclass(frozen=True)
class ChangeTask:
    """Read both years of a shard, compare them, and write the shard of the change."""

    pair: Pair
    writer: ShardWriter

    def __call__(self, shard: Shard) -> int:
        """Write one shard and return the number of cells mapped in both years."""
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
        self.writer.write(grid, shard, layers.items(), self.writer.fingerprint, **counts.as_json())
        count_pixels(label[0].size)
        return int(counts.cells.sum())


def map_change(run: Run, pair: Pair, target: Location) -> Counts:
    """Write `change.zarr`, unless it is there, and count its cells.

    Its arrays (y, x) are uint8. `change` has the codes of `transition_codes`. `change_confidence` is the probability in
    percent that both labels of the cell are right, the product of their confidences. It takes the soft assignments q
    for probabilities, and the errors of both years for independent.

    Args:
        run: which run.
        pair: the years.
        target: the store.

    Raises:
        UserError: the store cannot be written.
        ShardsFailed: some shards could not be done.
    """
    stage = _change_stage(pair, target)
    if not stage.is_finished():
        stage.carry_out(run, ChangeTask(pair, stage.writer))
    counts = Counts.empty(len(pair.names))
    for record in stores.read_records(target, STAGE, stage.grid.shards).values():
        counts = counts + Counts.from_json(record)
    return counts


def _change_stage(pair: Pair, target: Location) -> ShardStage:
    cube = stores.open_to_read(pair.cube)
    grid = layout.read_grid(cube)
    about = {
        "title": f"change of labels from {pair.years[0]} to {pair.years[1]}",
        "years": list(pair.years),
        "labels": list(pair.names),
        "simulated": layout.attributes(cube)["simulated"],
    }
    of_shards = dict.fromkeys(grid.shards, pair.fingerprint)
    return ShardStage(STAGE, target, pair.fingerprint, grid, tuple(_layers(pair)), of_shards, about=about)


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
