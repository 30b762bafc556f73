"""The way in which a task writes a shard: all arrays, then the record that says that they are whole."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import stores
from pipeline.grid.grid import Grid, Shard


@dataclass(frozen=True)
class ShardWriter:
    """Writes single shards of a store for one run of a stage; it goes to the workers with the task."""

    path: Location  # of the store
    stage: Stage
    fingerprint: Fingerprint  # with which the run has begun the stage

    def write(
        self,
        grid: Grid,
        shard: Shard,
        arrays: Iterable[tuple[str, np.ndarray]],
        made_from: Fingerprint,
        **facts: object,
    ) -> None:
        """Write one shard of every array, and its record last.

        A kill on the way leaves a shard without a record, which the next run does again.

        Args:
            grid: the store's grid.
            shard: which one.
            arrays: name and whole shard (..., y, x) of each array, taken one after the other.
            made_from: fingerprint of all that the shard was made by and from.
            facts: JSON-able, kept in the record.

        Raises:
            Superseded: another run has begun the stage since, or has finished it: nothing is written.
            ValueError: an array is not exactly the shard, or not of the store's type.
        """
        with stores.writing(self.path, self.stage, self.fingerprint) as group:
            stores.discard_record(group, self.stage, shard)
            for name, data in arrays:
                stores.write_shard(group, name, grid, shard, data)
            stores.write_record(group, self.stage, shard, {"mark": made_from, **facts})
