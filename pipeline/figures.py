"""Pictures of the report, each as PNG bytes; colours are safe for colour-blind readers (Okabe and Ito)."""

import io
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.layout import MISSING

WINTER, SUMMER = "#0072B2", "#E69F00"
_MORE = ("#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
_LAND = "#EFEDE8"
_DPI: Final = 130


def colours(n_clusters: int) -> list[str]:
    """A colour for every label."""
    return [(WINTER, SUMMER, *_MORE)[k % 8] for k in range(n_clusters)]


def seasons_map(label: np.ndarray, geobox: GeoBox, outline: BaseGeometry, names: Sequence[str], title: str) -> bytes:
    """The map of labels with outline, legend, scale bar and title.

    Args:
        label: (y, x), 255 = not mapped; may be coarser than the grid.
        geobox: whose extent `label` covers.
        outline: the region in the grid's CRS.
        names: of the labels.
        title: above the map.
    """
    box = geobox.boundingbox
    figure = Figure(figsize=(7.5, 7.5 * (box.top - box.bottom) / (box.right - box.left) + 0.4), layout="constrained")
    axes = figure.add_subplot()
    for part in getattr(outline, "geoms", [outline]):
        x, y = part.exterior.xy
        axes.fill(x, y, facecolor=_LAND, edgecolor="#777777", linewidth=0.5)
    image = np.ma.masked_equal(label, MISSING)
    extent = (box.left, box.right, box.bottom, box.top)
    palette = ListedColormap(colours(len(names)))
    axes.imshow(image, extent=extent, cmap=palette, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest", zorder=2)
    cells = [int((label == k).sum()) for k in range(len(names))]
    share = [100 * n / max(1, sum(cells)) for n in cells]
    handles = [
        Patch(color=c, label=f"{n} ({s:.0f} %)") for c, n, s in zip(colours(len(names)), names, share, strict=True)
    ]
    handles.append(Patch(facecolor=_LAND, edgecolor="#777777", label="not mapped"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    _scale_bar(axes, box.left, box.bottom, box.right - box.left)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title)
    return _png(figure)


def _scale_bar(axes: Any, left: float, bottom: float, width: float) -> None:
    length = 10 ** np.floor(np.log10(width / 3))
    x, y = left + 0.04 * width, bottom + 0.03 * width
    axes.plot([x, x + length], [y, y], color="black", linewidth=2)
    axes.text(x + length / 2, y + 0.01 * width, f"{length / 1000:g} km", ha="center", fontsize=9)


def gaps(dates: np.ndarray, missing_share: np.ndarray) -> bytes:
    """Share of mapped cells without a valid observation, by composite."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.add_subplot()
    axes.bar(dates.astype("datetime64[D]").astype(object), 100 * missing_share, width=7, color="#777777")
    axes.set_ylabel("gaps (% of mapped cells)")
    axes.set_ylim(0, 100)
    _plain(axes)
    return _png(figure)


def filled_series(dates: np.ndarray, examples: Sequence[dict[str, Any]], n_channels: int) -> bytes:
    """Observed and filled series of some cells.

    Args:
        dates: (T,).
        examples: each with "observed" (T,) NaN = gap, "filled" (T,), "spread" (T,), "title", "colour", "channel" and
            "range" (lowest and highest possible value); one after the other for each channel of a cell.
        n_channels: panels beside each other; of a single channel, two cells are.
    """
    columns = n_channels if n_channels > 1 else 2
    rows = max(1, -(-len(examples) // columns))
    figure = Figure(figsize=(4.5 * columns, 2.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    days = dates.astype("datetime64[D]").astype(object)
    for axes, example in zip(grid.flat, examples, strict=False):
        low, high = example["filled"] - example["spread"], example["filled"] + example["spread"]
        axes.fill_between(days, low, high, color=example["colour"], alpha=0.2, linewidth=0)
        axes.plot(days, example["filled"], color=example["colour"], linewidth=1.2, label="filled")
        axes.plot(days, example["observed"], "o", color="black", markersize=3, label="observed")
        axes.set_title(example["title"], fontsize=9)
        axes.set_ylim(_limits([e for e in examples if e["channel"] == example["channel"]]))
        axes.set_ylabel(example["channel"], fontsize=9)
        axes.tick_params(axis="x", labelrotation=30)
        _plain(axes)
    for axes in list(grid.flat)[len(examples) :]:
        axes.set_axis_off()
    grid[0, 0].legend(frameon=False, fontsize=8)
    return _png(figure)


def _limits(examples: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """One scale for all examples of a channel: all that is possible if that is 0 to 1 or less, else what there is."""
    low, high = examples[0]["range"]
    if high - low <= 1:
        return low, high
    values = np.concatenate([np.concatenate([e["observed"], e["filled"]]) for e in examples])
    return max(low, float(np.nanmin(values)) * 0.95), min(high, float(np.nanmax(values)) * 1.05)


def training(history: Sequence[dict[str, Any]]) -> bytes:
    """Losses and cluster sizes over the iterations, from the lines of the history."""
    updates = [line for line in history if line["phase"] == "joint"]
    iterations = [line["iteration"] for line in updates]
    figure = Figure(figsize=(9, 2.8), layout="constrained")
    losses, sizes = figure.subplots(1, 2)
    for name in updates[0]["losses"] if updates else ():
        values = [line["losses"][name] for line in updates]
        if any(value for value in values):  # a term of weight zero is never computed
            losses.plot(iterations, [np.nan if v is None else abs(v) for v in values], marker=".", label=f"|L_{name}|")
    losses.set_yscale("log")
    losses.set_xlabel("iteration")
    losses.set_title("losses, mean since the last target update", fontsize=9)
    n_clusters = len(updates[0]["cluster_sizes"]) if updates else 0
    for k, colour in enumerate(colours(n_clusters)):
        sizes.plot(iterations, [line["cluster_sizes"][k] for line in updates], color=colour, marker=".", label=str(k))
    sizes.set_ylim(bottom=0)
    sizes.set_xlabel("iteration")
    sizes.set_title("series in each cluster", fontsize=9)
    for axes in (losses, sizes):
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
        _plain(axes)
    return _png(figure)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)


def _png(figure: Figure) -> bytes:
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": "sitscube"})
    return buffer.getvalue()
