"""Samples of cells: one at random from each of equal parts of the country."""

import numpy as np

from pipeline.grid.grid import Shard

_BITS = 16  # of a place along one axis


def along_blocks(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the mask's cells, block after block: halves of both axes, halves of these, and so on.

    This is Morton order: cells that follow each other are close together, and every part of the mask (y, x) is one or
    a few intervals of the sequence.
    """
    rows, columns = np.nonzero(mask)
    order = np.argsort(_morton(rows, columns, mask.shape), kind="stable")
    return rows[order], columns[order]


def draw(available: dict[Shard, int], size: int, seed: int) -> dict[Shard, np.ndarray]:
    """Draw `size` cells of a country by their numbers in the sequences of its shards; all if there are fewer.

    The sequences of all shards, which follow each other in Morton order too, are cut into `size` intervals whose
    lengths differ by at most one cell. One cell of each is drawn at random.

    Args:
        available: number of cells of every shard.
        size: number of cells to draw.
        seed: the same seed draws the same cells.

    Returns:
        The numbers (n,) in the sequence of each shard that has some, in ascending order.
    """
    total = sum(available.values())
    size = min(size, total)
    if size == 0:
        return {}
    shape = max(shard.i for shard in available) + 1, max(shard.j for shard in available) + 1
    places = np.array([(shard.i, shard.j) for shard in available])
    order = np.argsort(_morton(places[:, 0], places[:, 1], shape), kind="stable")
    shards = [list(available)[k] for k in order]
    ends = np.cumsum([available[shard] for shard in shards])
    bounds = np.arange(size + 1) * total // size
    drawn = np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])
    stops = np.searchsorted(drawn, ends)
    starts = [0, *stops[:-1]]
    begins = [0, *ends[:-1]]
    found = zip(shards, starts, stops, begins, strict=True)
    return {shard: drawn[start:stop] - begin for shard, start, stop, begin in found if stop > start}


def _morton(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Interleave the bits of row and column, both as shares of the shape."""
    key = np.zeros(len(rows), np.int64)
    for place, n, shift in ((rows, shape[0], 1), (columns, shape[1], 0)):
        scaled = (place.astype(np.int64) << _BITS) // n
        for bit in range(_BITS):
            key |= ((scaled >> bit) & 1) << (2 * bit + shift)
    return key
