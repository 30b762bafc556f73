"""Protocols of reference maps: a grid of class codes that is read by windows, and the module of a product."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry


class Reader(Protocol):
    """An open map: used by one task, in one thread."""

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Read class codes of a window, whole numbers of at most 16 bits (rows, columns); None where all are missing.

        The next read but one may overwrite them.

        Raises:
            UserError: the map is damaged there.
        """
        ...


class ClassMap(Protocol):
    """A map of class codes that is not open: small, so that it can be sent to workers."""

    @property
    def name(self) -> str:
        """Name of its file or files."""
        ...

    @property
    def year(self) -> int | None:
        """Year of the map; None where neither its name nor its tags have it."""
        ...

    @property
    def simulated(self) -> str:
        """Origin of a simulated map; empty for a real one."""
        ...

    @property
    def geobox(self) -> GeoBox:
        """Cells of the map, in its own CRS."""
        ...

    @property
    def block(self) -> tuple[int, int]:
        """Rows and columns that are stored together, counted from the upper left corner."""
        ...

    @property
    def missing(self) -> tuple[int, ...]:
        """Codes of cells without a class."""
        ...

    def open(self) -> AbstractContextManager[Reader]:
        """Open the map for reading."""
        ...

    def digest(self) -> str:
        """Return a digest of the content."""
        ...


class Product(Protocol):
    """A module of a reference map."""

    NAME: str  # in outputs
    TABLE: Path  # its classes and their seasons
    CODES: tuple[int, ...]  # of every table; empty where the map's own codes decide

    def recognises(self, path: Path) -> bool:
        """Return whether a path looks like this map."""
        ...

    def find(self, path: Path, year: int | None, region: BaseGeometry) -> ClassMap:
        """Find the map at a path; its header is read, its cells are not.

        Args:
            path: file or folder.
            year: preferred where there are maps of several; None: the only one.
            region: to be mapped, in longitude and latitude.

        Raises:
            UserError: it is missing or cannot be used.
        """
        ...
