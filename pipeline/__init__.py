"""Make a cube and a map from a year of satellite observations: readers, stores, stages and the command line.

`open_year` and `open_clusters` open the outputs, `figures` draws them. They are imported on first use, so that
importing one module of the package does not load xarray, Dask or matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.cube.opening import open_clusters, open_year
    from pipeline.reports import figures


__all__ = ["figures", "open_clusters", "open_year"]


def __getattr__(name: str) -> Any:
    """Return a public name; AttributeError where there is none of that name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "figures":
        return import_module("pipeline.reports.figures")
    return getattr(import_module("pipeline.cube.opening"), name)
