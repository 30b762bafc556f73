"""The style of all pictures: colours that are safe for colour-blind readers (Okabe and Ito), frames, PNG bytes."""

import io
from collections.abc import Sequence
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import DateFormatter, MonthLocator
from matplotlib.figure import Figure

WINTER, SUMMER = "#0072B2", "#E69F00"
MORE: Final = ("#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000")
GREY: Final = "#777777"
LAND: Final = "#EFEDE8"
DPI: Final = 130


def colours(n_clusters: int) -> list[str]:
    """Return a colour for every label."""
    return [(WINTER, SUMMER, *MORE)[k % 8] for k in range(n_clusters)]


def class_colours(names: Sequence[str], given: Sequence[str] | None) -> list[str]:
    """Return the given colours of classes, or those of labels where None are given.

    Raises:
        ValueError: there is no class, or there are fewer colours than classes.
    """
    if not len(names):
        raise ValueError('names is empty: name the classes, as in ["winter", "summer"]')
    if given is not None and len(given) < len(names):
        raise ValueError(f"colours has {len(given)} entries for {len(names)} classes: give one a class, or none")
    return colours(len(names)) if given is None else list(given)


def sheet(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches, with automatic layout and a margin."""
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.06)
    return figure


def label_months(axes: Any, every: int) -> None:
    """Mark every so many months by their names, from January on."""
    axes.xaxis.set_major_locator(MonthLocator(tuple(range(1, 13, every))))
    axes.xaxis.set_major_formatter(DateFormatter("%b"))


def plain(axes: Any) -> None:
    """Remove the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)


def png(figure: Figure) -> bytes:
    """Write a figure as PNG; the same figure has the same bytes."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": "sitscube"})
    return buffer.getvalue()
