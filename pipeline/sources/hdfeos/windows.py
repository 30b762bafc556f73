"""Windows of several fields of a granule, whose chunk indexes are read and verified once in each process."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from cachetools import LRUCache

from pipeline.base.errors import GranuleError
from pipeline.sources.hdfeos.chunks import PackedLayer
from pipeline.sources.hdfeos.grid_file import GridFile, open_grid

Stamp = tuple[int, int, int]
Layers = dict[str, PackedLayer] | None  # None: the library has to unpack them

# about 120 KB a granule of 2400 rows; a whole year of Italy's four tiles fits
_KNOWN: Final[LRUCache[tuple[Path, Stamp, int], Layers]] = LRUCache(maxsize=256)


def remember(path: Path, grid: GridFile, names: Sequence[str], missing: int) -> None:
    """Keep what is needed to read windows of an open, checked granule."""
    _KNOWN[path, _stamp(os.stat(path)), missing] = grid.packed(names, missing)


def read_layers(
    path: Path, field: str, names: Sequence[str], rows: slice, columns: slice, missing: int
) -> dict[str, np.ndarray]:
    """Read a window of several fields.

    Args:
        path: of the granule.
        field: by which its grid is found.
        names: of the fields.
        rows: of the window; only their chunks are read.
        columns: of the window.
        missing: the one fill value with which rows may be left out.

    Raises:
        GranuleError: the file cannot be read, or the window cannot be decoded.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise GranuleError(f"{path.name}: the file is gone") from None
    except OSError as error:
        raise GranuleError(f"{path.name}: it cannot be read ({error.strerror})") from None
    try:
        key = path, _stamp(os.fstat(descriptor)), missing
        if key not in _KNOWN:
            with open_grid(path, field) as grid:
                _KNOWN[key] = grid.packed(names, missing)
        layers = _KNOWN[key]
        if layers is not None:
            return {
                name: layer.read(descriptor, rows, columns, where=f"{path.name}: {name}", missing=missing)
                for name, layer in layers.items()
            }
    finally:
        os.close(descriptor)
    with open_grid(path, field) as grid:
        return {name: grid.read(name, rows, columns, missing=missing) for name in names}


def _stamp(status: os.stat_result) -> Stamp:
    """Return what distinguishes the verified file from a later one of the same name."""
    return status.st_ino, status.st_mtime_ns, status.st_size
