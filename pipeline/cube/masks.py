"""The masks of a cube: how many cells are mapped, and how many are used for training."""

from typing import Final

import zarr

from pipeline.base.errors import UserError
from pipeline.base.stage_names import Stage
from pipeline.cube import layout, stores
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Shard

STAGE: Final = Stage.PREPARE


def count_cells(group: zarr.Group, name: str) -> dict[Shard, int]:
    """Count the cells of a mask in every shard, from the records of prepare.

    Args:
        group: the cube.
        name: "mask" for mapped cells, "train_mask" for those that are used for training.

    Raises:
        UserError: a record is missing or damaged.
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
