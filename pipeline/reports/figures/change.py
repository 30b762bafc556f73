"""Maps of two years and of the change between them."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.patches import Patch
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.cube.layout import MISSING
from pipeline.reports.figures.maps import draw_outline, scale_bar
from pipeline.reports.figures.style import GREY, LAND, colours, png, sheet

_PALE: Final = 0.68  # share of white in the colour of what stayed
_ONLY: Final = ("#AAAAAA", "#444444")  # mapped in the earlier, in the later year only
_WIDTH: Final = 4.6  # of a panel, in inches
_LINE: Final = 0.2  # height of a line of a legend, in inches


def change_colours(n_labels: int) -> list[str]:
    """Return a colour for every code of a change: that of the later label, and a pale one where the label stayed."""
    palette = colours(n_labels)
    of_both = [_pale(palette[j]) if i == j else palette[j] for i in range(n_labels) for j in range(n_labels)]
    return [*of_both, *_ONLY]


def change_maps(
    label: np.ndarray,
    change: np.ndarray,
    geobox: GeoBox,
    outline: BaseGeometry,
    names: Sequence[str],
    years: tuple[int, int],
    title: str,
) -> bytes:
    """Draw both years' labels and their change side by side, as PNG.

    Args:
        label: (2, y, x), 255 = not mapped; may be coarser than the grid.
        change: (y, x) codes K i + j from label i to label j, K K and K K + 1 mapped in one year only, 255 in neither.
        geobox: the extent of both.
        outline: the region in the grid's CRS.
        names: of the labels, for people.
        years: earlier and later.
        title: above the maps.
    """
    box = geobox.boundingbox
    below = 0.5 + _LINE * (len(names) + 2)  # titles, and the longest legend
    figure = sheet(3 * _WIDTH, _WIDTH * (box.top - box.bottom) / (box.right - box.left) + below)
    panels = figure.subplots(1, 3)
    palette = colours(len(names))
    for axes, of_year, year in zip(panels, label, years, strict=False):
        _draw(axes, of_year, palette, box, outline)
        axes.set_title(str(year), fontsize=11)
    _draw(panels[2], change, change_colours(len(names)), box, outline)
    panels[2].set_title(f"change from {years[0]} to {years[1]}", fontsize=11)
    scale_bar(panels[0], box.left, box.bottom, box.right - box.left)
    labels = [Patch(color=colour, label=name) for colour, name in zip(palette, names, strict=True)]
    labels.append(Patch(facecolor=LAND, edgecolor=GREY, label="not mapped"))
    for axes, handles in zip(panels, (labels, labels, _legend(change, names, years)), strict=True):
        axes.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=2, frameon=False, fontsize=9
        )
    figure.suptitle(title, fontsize=13)
    return png(figure)


def _draw(axes: Any, codes: np.ndarray, palette: list[str], box: Any, outline: BaseGeometry) -> None:
    draw_outline(axes, outline)
    axes.imshow(
        np.ma.masked_equal(codes, MISSING),
        extent=(box.left, box.right, box.bottom, box.top),
        cmap=ListedColormap(palette),
        vmin=-0.5,
        vmax=len(palette) - 0.5,
        interpolation="nearest",
        zorder=2,
    )
    axes.set_xlim(box.left, box.right)
    axes.set_ylim(box.bottom, box.top)
    axes.set_aspect("equal", anchor="N")
    axes.set_axis_off()


def _legend(change: np.ndarray, names: Sequence[str], years: tuple[int, int]) -> list[Patch]:
    """Return a handle for every transition of two labels; of more, for each label that stayed or is new."""
    palette, n = change_colours(len(names)), len(names)
    stayed = [Patch(color=palette[k * n + k], label=f"{name} in both") for k, name in enumerate(names)]
    if n == 2:
        new = [Patch(color=palette[i * n + j], label=f"{names[i]} to {names[j]}") for i, j in ((1, 0), (0, 1))]
    else:
        new = [Patch(color=colour, label=f"newly {name}") for colour, name in zip(colours(n), names, strict=True)]
    found = set(np.unique(change).tolist())
    only = [Patch(color=_ONLY[k], label=f"mapped in {years[k]} only") for k in (0, 1) if n**2 + k in found]
    return [*stayed, *new, *only]  # a column each


def _pale(colour: str) -> str:
    red, green, blue = (_PALE + (1 - _PALE) * part for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))
