"""How a task writes a shard: all arrays first, then the record that declares them complete."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import stores
from pipeline.cube.shards import FINGERPRINT_KEY
from pipeline.grid.grid import Grid, Shard


@dataclass(frozen=True)
class ShardWriter:
    """Write single shards of a store for one run of a stage; it is sent to the workers with the task."""

    path: Location  # of the store
    stage: Stage
    fingerprint: Fingerprint  # with which this run has begun the stage

    def write(
        self,
        grid: Grid,
        shard: Shard,
        arrays: Iterable[tuple[str, np.ndarray]],
        made_from: Fingerprint,
        **facts: object,
    ) -> None:
        """Write one shard of every array, and its record last.

        A kill on the way leaves a shard without a record, which the next run writes again.

        Args:
            grid: grid of the store.
            shard: the shard.
            arrays: name and whole shard (..., y, x) of each array, taken one after the other.
            made_from: fingerprint of the method and of all inputs of the shard.
            facts: JSON-able values of the record.

        Raises:
            Superseded: another run has begun or finished the stage; nothing is written.
            ValueError: an array is not exactly the shard, or not of the store's type.
        """
        with stores.writing(self.path, self.stage, self.fingerprint) as group:
            stores.discard_record(group, self.stage, shard)
            for name, data in arrays:
                stores.write_shard(group, name, grid, shard, data)
            stores.write_record(group, self.stage, shard, {FINGERPRINT_KEY: made_from, **facts})
