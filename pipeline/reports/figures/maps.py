"""Maps of the labels, of their agreement with a reference, and of missing observations."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.cube.layout import MISSING
from pipeline.reports.figures.style import GREY, LAND, colours, png

AGREE, DISAGREE, NOT_COMPARED = 0, 1, 2  # values of an agreement map
_AGREEMENT: Final = (("#6FBFA4", "agree"), ("#D55E00", "disagree"), ("#B5B5B5", "not compared"))


def seasons_map(label: np.ndarray, geobox: GeoBox, outline: BaseGeometry, names: Sequence[str], title: str) -> bytes:
    """Draw the map of labels with outline, legend, scale bar and title, as PNG.

    Args:
        label: (y, x), 255 = not mapped; may be coarser than the grid.
        geobox: the extent of `label`.
        outline: the region in the grid's CRS.
        names: of the labels.
        title: above the map.
    """
    return _classes_map(label, geobox, outline, list(zip(colours(len(names)), names, strict=True)), title)


def agreement_map(agreement: np.ndarray, geobox: GeoBox, outline: BaseGeometry, title: str) -> bytes:
    """Draw where label and reference agree (0), disagree (1), or are not compared (2), as PNG, see `seasons_map`."""
    return _classes_map(agreement, geobox, outline, _AGREEMENT, title)


def gap_map(missing: np.ndarray, geobox: GeoBox, outline: BaseGeometry, title: str) -> bytes:
    """Draw the share of the dates without an observation (y, x), NaN = not mapped, as PNG, see `seasons_map`."""
    figure, axes = _land(geobox, outline, title)
    image = _show(axes, np.ma.masked_invalid(100 * missing), geobox, "viridis_r", (0, 100))
    figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.6, pad=0.02, label="dates without value (%)")
    return png(figure)


def _classes_map(
    values: np.ndarray, geobox: GeoBox, outline: BaseGeometry, classes: Sequence[tuple[str, str]], title: str
) -> bytes:
    """Draw numbers from 0 in the colours of their classes; the legend has the share of the cells of each."""
    figure, axes = _land(geobox, outline, title)
    palette = ListedColormap([colour for colour, _ in classes])
    _show(axes, np.ma.masked_equal(values, MISSING), geobox, palette, (-0.5, len(classes) - 0.5))
    cells = [int((values == k).sum()) for k in range(len(classes))]
    handles = [
        Patch(color=colour, label=f"{name} ({100 * n / max(1, sum(cells)):.0f} %)")
        for (colour, name), n in zip(classes, cells, strict=True)
    ]
    handles.append(Patch(facecolor=LAND, edgecolor=GREY, label="not mapped"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    return png(figure)


def _land(geobox: GeoBox, outline: BaseGeometry, title: str) -> tuple[Figure, Axes]:
    """Make a figure with the region, a scale bar and a title."""
    box = geobox.boundingbox
    figure = Figure(figsize=(7.5, 7.5 * (box.top - box.bottom) / (box.right - box.left) + 0.4), layout="constrained")
    axes = figure.add_subplot()
    draw_outline(axes, outline)
    scale_bar(axes, box.left, box.bottom, box.right - box.left)
    axes.set_axis_off()
    axes.set_title(title)
    return figure, axes


def _show(axes: Axes, values: np.ndarray, geobox: GeoBox, palette: str | Colormap, limits: tuple[float, float]) -> Any:
    box = geobox.boundingbox
    extent = (box.left, box.right, box.bottom, box.top)
    image = axes.imshow(
        values, extent=extent, cmap=palette, vmin=limits[0], vmax=limits[1], interpolation="nearest", zorder=2
    )
    axes.set_aspect("equal")
    return image


def draw_outline(axes: Any, outline: BaseGeometry) -> None:
    """Draw the region as land that is not mapped."""
    for part in getattr(outline, "geoms", [outline]):
        x, y = part.exterior.xy
        axes.fill(x, y, facecolor=LAND, edgecolor=GREY, linewidth=0.5)


def scale_bar(axes: Any, left: float, bottom: float, width: float) -> None:
    """Draw a bar of a round length in the lower left corner of a map in metres, `width` wide."""
    length = 10 ** np.floor(np.log10(width / 3))
    x, y = left + 0.04 * width, bottom + 0.03 * width
    axes.plot([x, x + length], [y, y], color="black", linewidth=2)
    axes.text(x + length / 2, y + 0.01 * width, f"{length / 1000:g} km", ha="center", fontsize=9)
