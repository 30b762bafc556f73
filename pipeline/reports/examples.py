"""Cells whose observed and filled series are shown in the report."""

from typing import Final

import numpy as np
import zarr

from pipeline.base.channel import Channel
from pipeline.cube import layout, stores
from pipeline.cube.channels import filled_name, read_channels, spread_names, to_physical, width_channel
from pipeline.reports import figures
from pipeline.reports.figures.cube import Example, FilledSeries

_OF_EACH_LABEL: Final = 2  # cells


def has_filled_series(result: zarr.Group, channels: tuple[Channel, ...]) -> bool:
    """Say whether the map holds filled series and their spread, which may be switched off."""
    return {*map(filled_name, channels), *spread_names(channels)} <= stores.layer_names(result)


def examples(result: zarr.Group, cube: zarr.Group, names: list[str]) -> list[Example]:
    """Choose for every label some cells with an average number of gaps, from the shard with most cells of that label.

    Each cell has one example a channel.

    Args:
        result: the map, with filled series.
        cube: prepared.
        names: of the labels.
    """
    grid, n_dates = layout.read_grid(cube), layout.array(cube, "time").shape[0]
    found = []
    for k, name in enumerate(names):
        counts = {s: int((stores.read_window(result, "label", grid.window(s)) == k).sum()) for s in grid.shards}
        shard = max(counts, key=lambda s: counts[s])
        rows, columns = grid.window(shard)
        y, x = np.nonzero(stores.read_window(result, "label", (rows, columns)) == k)
        if not len(y):
            continue
        observed = stores.read_window(cube, "n_observed", (rows, columns))[y, x]
        middling = np.flatnonzero(observed == np.sort(observed)[len(observed) // 2])
        colour = figures.colours(len(names))[k]
        for pick in middling[np.linspace(0, len(middling) - 1, _OF_EACH_LABEL).astype(int)]:
            i, j = rows.start + int(y[pick]), columns.start + int(x[pick])
            for series in _series_at(result, cube, i, j):
                n_seen = int(np.isfinite(series.observed).sum())
                title = f"{name}, row {i}, column {j}: {n_seen} of {n_dates} observed"
                found.append(Example(title, colour, series))
    return found


def _series_at(result: zarr.Group, cube: zarr.Group, i: int, j: int) -> list[FilledSeries]:
    """Read the observed and filled series of a cell, one a channel."""
    at = (slice(i, i + 1), slice(j, j + 1))
    channels = read_channels(cube)
    low_high = [to_physical(np.array(channel.valid_range), channel).tolist() for channel in channels]
    return [
        FilledSeries(
            channel=channel.name,
            possible=(low, high),
            observed=to_physical(stores.read_window(cube, channel.name, at)[:, 0, 0], channel),
            filled=to_physical(stores.read_window(result, filled_name(channel), at)[:, 0, 0], channel),
            spread=to_physical(stores.read_window(result, spread, at)[:, 0, 0], width_channel(channel)),
        )
        for channel, spread, (low, high) in zip(channels, spread_names(channels), low_high, strict=True)
    ]
