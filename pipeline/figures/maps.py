"""The map of labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.figures.style import GREY, LAND, colours, png
from pipeline.layout import MISSING


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
        axes.fill(x, y, facecolor=LAND, edgecolor=GREY, linewidth=0.5)
    image = np.ma.masked_equal(label, MISSING)
    extent = (box.left, box.right, box.bottom, box.top)
    palette = ListedColormap(colours(len(names)))
    axes.imshow(image, extent=extent, cmap=palette, vmin=-0.5, vmax=len(names) - 0.5, interpolation="nearest", zorder=2)
    cells = [int((label == k).sum()) for k in range(len(names))]
    share = [100 * n / max(1, sum(cells)) for n in cells]
    handles = [
        Patch(color=c, label=f"{n} ({s:.0f} %)") for c, n, s in zip(colours(len(names)), names, share, strict=True)
    ]
    handles.append(Patch(facecolor=LAND, edgecolor=GREY, label="not mapped"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
    _scale_bar(axes, box.left, box.bottom, box.right - box.left)
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(title)
    return png(figure)


def _scale_bar(axes: Any, left: float, bottom: float, width: float) -> None:
    length = 10 ** np.floor(np.log10(width / 3))
    x, y = left + 0.04 * width, bottom + 0.03 * width
    axes.plot([x, x + length], [y, y], color="black", linewidth=2)
    axes.text(x + length / 2, y + 0.01 * width, f"{length / 1000:g} km", ha="center", fontsize=9)
