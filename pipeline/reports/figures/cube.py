"""What a cube holds: gaps through the year, series of single cells, and the mean curve of every cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from pipeline.reports.figures.style import GREY, colours, label_months, plain, png, sheet


@dataclass(frozen=True)
class FilledSeries:
    """One channel of a cell, in physical units."""

    channel: str
    possible: tuple[float, float]  # lowest and highest value that there can be
    observed: np.ndarray  # (T,) NaN = gap
    filled: np.ndarray  # (T,)
    spread: np.ndarray  # (T,) difference of forward and backward estimate


@dataclass(frozen=True)
class Example:
    """A series as it is shown."""

    title: str
    colour: str
    series: FilledSeries


def gaps(dates: np.ndarray, missing_share: np.ndarray) -> bytes:
    """Draw the share of the mapped cells without a valid observation, by composite, as PNG.

    Args:
        dates: (T,) first days of the composites.
        missing_share: (T,) from 0 to 1.
    """
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.add_subplot()
    days = dates.astype("datetime64[D]")
    width = 0.875 * float(np.diff(days).astype(int).min(initial=32))
    axes.bar(days.astype(object), 100 * missing_share, width=width, align="edge", color=GREY)
    axes.set_ylabel("gaps (% of mapped cells)")
    axes.set_ylim(0, 100)
    label_months(axes, every=1)
    plain(axes)
    return png(figure)


def gaps_by_latitude(dates: np.ndarray, missing_share: np.ndarray, edges: np.ndarray) -> bytes:
    """Draw where and when observations are missing, as PNG.

    Args:
        dates: (T,) first days of the composites.
        missing_share: (bands, T) share of the mapped cells of each band, NaN where a band has none; southernmost first.
        edges: (bands + 1,) latitudes of the bands' edges, ascending.
    """
    figure = sheet(8, 1.6 + 0.13 * len(missing_share))
    axes = figure.add_subplot()
    days = dates.astype("datetime64[D]")
    last = days[-1] + int(np.diff(days).astype(int).min(initial=31))
    bounds = np.append(days, last).astype(object)
    image = axes.pcolormesh(
        bounds, edges, np.ma.masked_invalid(100 * missing_share), cmap="viridis_r", vmin=0, vmax=100
    )
    figure.colorbar(image, ax=axes, label="gaps (% of cells)", pad=0.02)
    axes.set_ylabel("latitude (° N)")
    label_months(axes, every=1)
    return png(figure)


def filled_series(dates: np.ndarray, examples: Sequence[Example], n_channels: int) -> bytes:
    """Draw observed and filled series of some cells, as PNG.

    Args:
        dates: (T,) first days of the composites.
        examples: all channels of the first cell, then those of the second, and so on.
        n_channels: panels side by side; of a single channel, two cells are.
    """
    columns = n_channels if n_channels > 1 else 2
    rows = max(1, -(-len(examples) // columns))
    figure = Figure(figsize=(4.5 * columns, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    days = dates.astype("datetime64[D]").astype(object)
    for axes, example in zip(grid.flat, examples, strict=False):
        series = example.series
        low, high = series.filled - series.spread, series.filled + series.spread
        axes.fill_between(days, low, high, color=example.colour, alpha=0.2, linewidth=0)
        axes.plot(days, series.filled, color=example.colour, linewidth=1.2, label="filled")
        axes.plot(days, series.observed, "o", color="black", markersize=3, label="observed")
        axes.set_title(example.title, fontsize=9)
        axes.set_ylim(_limits([one.series for one in examples if one.series.channel == series.channel]))
        axes.set_ylabel(series.channel, fontsize=9)
        label_months(axes, every=2)
        plain(axes)
    for axes in list(grid.flat)[len(examples) :]:
        axes.set_axis_off()
    grid[0, 0].legend(frameon=False, fontsize=8)
    return png(figure)


def _limits(of_channel: Sequence[FilledSeries]) -> tuple[float, float]:
    """Return one scale for all series of a channel.

    It is all that is possible where that is 0 to 1 or less, else what the series have.
    """
    low, high = of_channel[0].possible
    if high - low <= 1:
        return low, high
    values = np.concatenate([np.concatenate([one.observed, one.filled]) for one in of_channel])
    least, most = float(np.nanmin(values)), float(np.nanmax(values))
    margin = 0.05 * (most - least or high - low)
    return least - margin, most + margin


def profiles(dates: np.ndarray, curves: np.ndarray, names: Sequence[str], channels: Sequence[str]) -> bytes:
    """Draw the mean observed curve of every cluster, one panel a channel, as PNG.

    The date on which the first channel has its peak is marked.

    Args:
        dates: (T,) first days of the composites.
        curves: (K, T, C) in physical units, NaN where no series of the cluster was observed.
        names: of the clusters.
        channels: names with units.
    """
    figure = sheet(9 if len(channels) > 1 else 6.5, 2.9 * -(-len(channels) // 2))
    grid = figure.subplots(-(-len(channels) // 2), min(2, len(channels)), squeeze=False)
    days = dates.astype("datetime64[D]").astype(object)
    for c, axes in enumerate(grid.flat):
        if c >= len(channels):
            axes.set_axis_off()
            continue
        for name, curve, colour in zip(names, curves, colours(len(names)), strict=True):
            peak = int(np.nan_to_num(curve[:, 0], nan=-np.inf).argmax())
            axes.plot(days, curve[:, c], color=colour, linewidth=1.6, label=f"{name}: peak {days[peak]:%-d %b}")
            axes.plot(days[peak], curve[peak, c], "o", color=colour, markersize=6)
        axes.set_ylabel(channels[c], fontsize=9)
        label_months(axes, every=2)
        plain(axes)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=9)
    return png(figure)
