"""The data side of sitscube: grid, stores, sources, references and one module a stage.

`open_year` and `open_clusters` open the outputs in a notebook; they are imported when they are asked for, so that
importing one module of the package does not wait for xarray and Dask.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.cube.opening import open_clusters, open_year


__all__ = ["open_clusters", "open_year"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.cube import opening

    return getattr(opening, name)
