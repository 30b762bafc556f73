"""Import the public names of sitscube: three estimators for arrays, and two functions that open the outputs of a run.

The names are loaded on first use: `import sitscube` loads neither torch nor Zarr, and using an estimator loads no Zarr.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from model import CRLI, JointClustering, MeanDEC
    from pipeline import open_clusters, open_year

__all__ = ["CRLI", "JointClustering", "MeanDEC", "__version__", "open_clusters", "open_year"]

__version__: Final = version("sitscube")
_PACKAGES: Final = {
    "CRLI": "model",
    "JointClustering": "model",
    "MeanDEC": "model",
    "open_clusters": "pipeline",
    "open_year": "pipeline",
}


def __getattr__(name: str) -> object:
    """Return a public name from the package that defines it.

    Raises:
        AttributeError: there is no such name.
    """
    if name not in _PACKAGES:
        raise AttributeError(f"module 'sitscube' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_PACKAGES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
