"""Series of the cube's pixels, as the model takes them: float32 (n, T, C) in physical units, NaN = missing."""

from collections.abc import Iterator

import numpy as np
import zarr

from pipeline.base.channel import Channel
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels, to_physical


def mapped_series(group: zarr.Group, window: tuple[slice, slice], name: str = "mask") -> tuple[np.ndarray, np.ndarray]:
    """Read the series of the cells in a window that a mask selects.

    Args:
        group: the cube.
        window: rows and columns.
        name: "mask" for mapped cells, "train_mask" for those that are used for training.

    Returns:
        Series (n, T, C), and their cells as a boolean array (y, x).
    """
    channels = read_channels(group)
    numbers, mask = mapped_numbers(group, window, channels, name)
    return to_series(numbers, channels), mask


def mapped_numbers(
    group: zarr.Group, window: tuple[slice, slice], channels: tuple[Channel, ...], name: str = "mask"
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the stored numbers of the cells in a window that a mask selects; see `mapped_series`.

    Chunks without such cells are not read.

    Returns:
        Numbers (T, n) by channel, and their cells as a boolean array (y, x).
    """
    mask = stores.read_window(group, name, window) == 1
    n_dates, n_cells = layout.array(group, "time").shape[0], int(mask.sum())
    numbers = {channel.name: np.empty((n_dates, n_cells), channel.dtype) for channel in channels}
    done = 0
    for band in _bands(mask, layout.attributes(group)["chunk"]):
        inside, n = mask[band], int(mask[band].sum())
        top, left = (part.start or 0 for part in window)
        place = slice(band[0].start + top, band[0].stop + top), slice(band[1].start + left, band[1].stop + left)
        for channel in channels:
            stored = stores.read_window(group, channel.name, place)
            numbers[channel.name][:, done : done + n] = stored[:, inside]
        done += n
    return numbers, mask


def _bands(mask: np.ndarray, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Yield windows that together contain all true cells in their order: one per row of chunks.

    Columns of chunks without true cells at the left and right end are left out.
    """
    for top in range(0, mask.shape[0], chunk):
        columns = np.flatnonzero(mask[top : top + chunk].any(axis=0))
        if len(columns):
            left, right = columns[0] // chunk * chunk, (columns[-1] // chunk + 1) * chunk
            yield slice(top, min(top + chunk, mask.shape[0])), slice(int(left), min(int(right), mask.shape[1]))


def to_series(numbers: dict[str, np.ndarray], channels: tuple[Channel, ...]) -> np.ndarray:
    """Convert stored numbers (T, n) by channel to series (n, T, C)."""
    return np.stack([to_physical(numbers[channel.name].T, channel) for channel in channels], axis=-1)
