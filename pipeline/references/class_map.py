"""What every reference map is to those who count its cells: a grid of class codes that is read by windows."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry


class Reader(Protocol):
    """An open map: used by one task, in one thread."""

    def read(self, rows: slice, columns: slice) -> np.ndarray | None:
        """Class codes of a window, whole numbers of at most 16 bits (rows, columns); None where all are missing.

        They may be overwritten by the next read but one.

        Raises:
            UserError: the map is damaged there.
        """
        ...


class ClassMap(Protocol):
    """A map of class codes; what says where it lies is small, and goes to the workers."""

    @property
    def name(self) -> str:
        """Of its file or files."""
        ...

    @property
    def year(self) -> int | None:
        """That it shows, where its name or its tags tell."""
        ...

    @property
    def simulated(self) -> str:
        """What made it up; empty for a real one."""
        ...

    @property
    def geobox(self) -> GeoBox:
        """Its cells, in its own CRS."""
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
        """Open it for reading."""
        ...

    def digest(self) -> str:
        """Identifies its content."""
        ...


class Product(Protocol):
    """What a module of a reference map has: to add one is to write such a module and to list it."""

    NAME: str  # as outputs call it
    TABLE: Path  # its classes and their seasons
    CODES: tuple[int, ...]  # that every table must have; empty where the map's own codes decide

    def recognises(self, path: Path) -> bool:
        """Whether a path looks like this map."""
        ...

    def find(self, path: Path, year: int | None, region: BaseGeometry) -> ClassMap:
        """The map at a path, looked at but not read.

        Args:
            path: file or folder.
            year: preferred where there are maps of several; None: the only one.
            region: that is mapped, in longitude and latitude.

        Raises:
            UserError: it is missing or cannot be used.
        """
        ...
