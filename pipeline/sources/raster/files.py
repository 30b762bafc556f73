"""GeoTIFF and NetCDF files: their dates, their grids, and windows of their layers."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import rasterio
from odc.geo import CRS
from rasterio.enums import MaskFlags
from rasterio.errors import NodataShadowWarning, NotGeoreferencedWarning
from rasterio.windows import Window

from pipeline.base.errors import GranuleError, UserError
from pipeline.cube.layout import SIMULATED
from pipeline.sources.raster.grid import UprightGrid
from pipeline.sources.raster.names import NamePattern, Step
from pipeline.sources.raster.netcdf import NetCdf, opened_dataset
from pipeline.sources.raster.settings import RasterLayer

_NETCDF: Final = {b"\x89HDF": "h5netcdf", b"CDF\x01": "scipy", b"CDF\x02": "scipy"}  # first bytes: reader
_TIFF: Final = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class RasterFile(Protocol):
    """An open file."""

    @property
    def simulated(self) -> str:
        """Origin of a simulated file, from its attribute; empty for real ones."""
        ...

    def steps(self, layer: RasterLayer) -> list[Step]:
        """Return the dates of a layer."""
        ...

    def grid(self, layer: RasterLayer) -> UprightGrid:
        """Return the grid of a layer."""
        ...

    def read(
        self, layer: RasterLayer, index: int | None, rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read numbers of a window (rows, columns), and where they are not the file's own missing value; None: all."""
        ...


@contextmanager
def open_raster(path: Path, crs: str | None = None, band_date: str | None = None) -> Iterator[RasterFile]:
    """Open a file for the length of a block.

    Args:
        path: GeoTIFF or NetCDF, recognised by its first bytes.
        crs: for files without one.
        band_date: pattern of band descriptions of GeoTIFFs whose bands are dates.

    Raises:
        GranuleError: it is gone, damaged or of another kind, or something read in the block is missing or damaged.
        UserError: the settings lack the layer's name.
    """
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
        if magic in _NETCDF:
            with opened_dataset(path, _NETCDF[magic]) as dataset:
                yield NetCdf(dataset, crs)
        elif magic in _TIFF:
            with warnings.catch_warnings():  # the errors below name what is missing
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                warnings.simplefilter("ignore", NodataShadowWarning)
                with rasterio.open(path, driver="GTiff") as file:
                    yield GeoTiff(file, crs, NamePattern(band_date) if band_date else None)
        else:
            raise GranuleError("neither GeoTIFF nor NetCDF")
    except FileNotFoundError:
        raise GranuleError(f"{path.name}: the file is gone") from None
    except UserError as error:
        raise type(error)(f"{path.name}: {error}") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: of HDF5 and PROJ
        raise GranuleError(f"{path.name}: damaged or truncated ({error}); fetch it again") from None


@dataclass(frozen=True)
class GeoTiff:
    """An open GeoTIFF; its bands are layers, or dates of one layer."""

    file: rasterio.DatasetReader
    crs: str | None
    band_date: NamePattern | None

    @property
    def simulated(self) -> str:
        """Origin of a simulated file, from its attribute; empty for real ones."""
        return str(self.file.tags().get(SIMULATED, ""))

    def steps(self, layer: RasterLayer) -> list[Step]:
        """Return the dates from band descriptions, or one unknown date.

        Raises:
            GranuleError: bands should be dates, but no description matches the pattern.
        """
        if self.band_date is None:
            return [Step(None, None)]
        named = [(band, self.band_date.match(text or "")) for band, text in enumerate(self.file.descriptions, 1)]
        steps = [Step(band, name.day) for band, name in named if name is not None]
        if not steps:
            raise GranuleError(f"no band description fits {self.band_date.text!r}: they are {self.file.descriptions}")
        return steps

    def grid(self, layer: RasterLayer) -> UprightGrid:
        """Return the file's grid.

        Raises:
            GranuleError: it has no geotransform, or no CRS and none is configured.
        """
        if self.file.transform.is_identity:
            raise GranuleError("no geotransform: it does not say where its pixels lie")
        found = CRS(self.file.crs.to_wkt()) if self.file.crs else None
        if found is None or not (found.geographic or found.projected):
            if self.crs is None:
                raise GranuleError("no coordinate reference system: set raster.crs, such as EPSG:4326")
            found = CRS(self.crs)
        return UprightGrid.of(self.file.shape, self.file.transform, found)

    def read(
        self, layer: RasterLayer, index: int | None, rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Read numbers of a window, and where nodata value, mask and alpha band let them count.

        Raises:
            GranuleError: there is no such band.
        """
        band = layer.band if index is None else index
        if band > self.file.count:
            raise GranuleError(f"no band {band}: it has {self.file.count}")
        grid = self.grid(layer)
        window = Window.from_slices(*grid.in_file(rows, columns))
        numbers = grid.upright(self.file.read(band, window=window))
        if self.file.mask_flag_enums[band - 1] == [MaskFlags.all_valid]:
            return numbers, None
        return numbers, grid.upright(self.file.read_masks(band, window=window)) != 0
