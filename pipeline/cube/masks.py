"""Which cells are mapped and trained on: their numbers, from the records of prepare."""

import zarr

from pipeline.base.errors import UserError
from pipeline.cube import layout, stores
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Shard

STAGE = "prepare"


def count_cells(group: zarr.Group, name: str) -> dict[Shard, int]:
    """Number of cells of every shard in one of the masks, "mask" or "train_mask", from the records of prepare.

    Raises:
        UserError: a record is missing.
    """
    path, grid = location_of(group), layout.read_grid(group)
    records = stores.read_records(path, STAGE, grid.shards)
    try:
        return {shard: int(records[shard]["cells"][name]) for shard in grid.shards}
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{path} lacks the records of {STAGE} or they are damaged: remove it and run `sitscube ingest` and "
            f"`sitscube {STAGE}` again."
        ) from None
