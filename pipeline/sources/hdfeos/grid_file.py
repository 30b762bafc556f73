"""HDF-EOS5 grid files on the sinusoidal grid: the grid that has a field, its place, attributes, windows of fields.

Collections 1 and 2 spell their attributes differently and store their fields differently; both are read. All errors of
h5py on a damaged file become a GranuleError, and no object of h5py leaves this module.

Source: HDF-EOS5 library user's guide (StructMetadata); real files of both collections.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from pipeline.base.errors import GranuleError
from pipeline.sources.hdfeos.chunks import (
    ChunkIndex,
    PackedLayer,
    chunk_index,
    is_stored,
    library_errors,
    packed_layer,
    read_window,
    refuse_holes,
    refuse_overlaps,
)
from pipeline.sources.hdfeos.structure import parse_structure

_STEP_TOLERANCE: Final = 0.01  # pixels: XDim and YDim may be single-precision numbers
_STRUCTURE: Final = "HDFEOS INFORMATION/StructMetadata.0"
_STRUCTURE_BYTES: Final = 1 << 22  # most that a StructMetadata.0 can have; 32,000 is usual


class GridFile:
    """The one grid of an open file that has the wanted field; see `open_grid`.

    Attributes:
        name: of the grid's group.
        structure: the grid's place; it agrees with XDim and YDim, where the file has them.
    """

    def __init__(self, file: h5py.File, file_name: str, field: str) -> None:
        self._file, self._file_name = file, file_name
        self._indexes: dict[str, ChunkIndex] = {}
        self.name, self._grid = _find_grid(file, file_name, field)
        self._fields = _child(self._grid, "Data Fields", h5py.Group, file_name)
        text = _text_dataset(file, _STRUCTURE, file_name)
        self.structure = parse_structure(text, self.name, field, file_name)
        for axis, name in enumerate(("YDim", "XDim")):
            self._check_axis(name, axis)

    def attribute(self, *names: str, field: str | None = None) -> str | float | None:
        """Return an attribute of the file or of a field: a number if it is one, else a text; None where it is missing.

        Args:
            names: spellings, of which the first that exists counts; case does not matter.
            field: with the attribute; None: the file.

        Raises:
            GranuleError: it cannot be read.
        """
        where = self._file_name if field is None else f"{self._file_name}: {field}"
        owner = self._file if field is None else self._dataset(field)
        with library_errors(where, "its attributes cannot be read"):
            there = {name.lower(): name for name in owner.attrs}
        for name in names:
            if name.lower() in there:
                with library_errors(where, f"its attribute {name} cannot be read"):
                    value = owner.attrs[there[name.lower()]]
                return plain(value)
        return None

    def check_fields(self, names: Sequence[str], dtype: str, missing: int) -> None:
        """Check type, shape and storage of fields, without decoding pixels.

        The fields must have the same rows stored, and no two fields of the file may use the same bytes.

        Args:
            names: fields that must be there.
            dtype: their type, such as "uint8".
            missing: the one fill value with which rows may be left out.

        Raises:
            GranuleError: something is not as it should be.
        """
        with library_errors(self._file_name, "its fields cannot be listed"):
            there = list(self._fields)
        lacking = [name for name in names if name not in there]
        if lacking:
            raise GranuleError(f"{self._file_name}: the layer {', '.join(lacking)} is missing")
        stored: dict[str, tuple[int, ...]] = {}
        spans = []
        size = os.fstat(self._file.id.get_vfd_handle()).st_size
        for name in there:
            dataset, where = self._dataset(name), f"{self._file_name}: {name}"
            with library_errors(where, "its storage cannot be read"):
                chunked = dataset.chunks is not None
                place = None if chunked else dataset.id.get_offset()
                length = 0 if chunked else dataset.id.get_storage_size()
            if name in names:
                _check_type(dataset, dtype, self.structure.shape, where)
            if not chunked:
                if place is not None:
                    spans.append((np.array([place]), np.array([length])))
                if name in names and not is_stored(dataset, where):
                    refuse_holes(dataset, where, missing)
                continue
            index = self._index(name, size)
            spans.append((index.offsets, index.sizes))
            if name in names:
                if not index.complete:
                    refuse_holes(dataset, where, missing)
                stored[name] = (*index.grid, *index.numbers.tolist())
        refuse_overlaps(spans, self._file_name)
        if len(set(stored.values())) > 1:
            raise GranuleError(f"{self._file_name}: {', '.join(stored)} do not have the same rows stored")

    def packed(self, names: Sequence[str], missing: int) -> dict[str, PackedLayer] | None:
        """Return what reading windows of fields needs once the file is closed; None if the library has to unpack one.

        Args:
            names: of the fields.
            missing: the one fill value with which rows may be left out.

        Raises:
            GranuleError: a field is not stored as it should be.
        """
        size, found = os.fstat(self._file.id.get_vfd_handle()).st_size, {}
        for name in names:
            dataset, where = self._dataset(name), f"{self._file_name}: {name}"
            with library_errors(where, "its storage cannot be read"):
                chunked = dataset.chunks is not None
            layer = packed_layer(dataset, self._index(name, size), where, missing) if chunked else None
            if layer is None:
                return None
            found[name] = layer
        return found

    def _index(self, name: str, size: int) -> ChunkIndex:
        if name not in self._indexes:
            self._indexes[name] = chunk_index(self._dataset(name), f"{self._file_name}: {name}", size)
        return self._indexes[name]

    def read(self, name: str, rows: slice, columns: slice, missing: int | None = None) -> np.ndarray:
        """Read a window of a field, of its own type; see `read_window`."""
        return read_window(self._dataset(name), rows, columns, where=f"{self._file_name}: {name}", missing=missing)

    def _dataset(self, name: str) -> h5py.Dataset:
        return _child(self._fields, name, h5py.Dataset, self._file_name)

    def _check_axis(self, name: str, axis: int) -> None:
        """Check XDim or YDim, where it exists: upper left corners of pixels, or their centres."""
        where = f"{self._file_name}: {name}"
        with library_errors(where, "it cannot be looked up"):
            there = name in self._grid
        if not there:
            return
        dataset, count = _child(self._grid, name, h5py.Dataset, self._file_name), self.structure.shape[axis]
        with library_errors(where, "it cannot be read"):
            shape, kind = dataset.shape, dataset.dtype.kind
        if shape != (count,) or kind != "f":
            raise GranuleError(f"{where}: it is {kind!r} {shape}, not the places of {count} pixels")
        with library_errors(where, "it cannot be read"):
            found = dataset[:]
        first, last = self.structure.upper_left[1 - axis], self.structure.lower_right[1 - axis]
        step = (last - first) / count
        with np.errstate(all="ignore"):  # damaged numbers may be anything
            off = (found.astype(float) - first) / step - np.arange(count)
            agree = any((np.abs(off - place) <= _STEP_TOLERANCE).all() for place in (0, 0.5))
        if not agree:
            raise GranuleError(f"{where}: it contradicts the corners in StructMetadata.0, {first} to {last}")


@contextmanager
def open_grid(path: Path, field: str) -> Iterator[GridFile]:
    """Open a file and find the one grid that has a field.

    Args:
        path: the file; it is closed at the end of the block.
        field: name of a data field.

    Raises:
        GranuleError: the file is gone, truncated, damaged or no HDF5; no grid or several have the field; or
            StructMetadata.0 is missing, contradicts itself or XDim and YDim, or is of another projection.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise GranuleError(f"{path.name}: the file is gone") from None
    except PermissionError:
        raise GranuleError(f"{path.name}: it may not be read: mend its permissions") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = "truncated" if "truncated" in str(error) else "no HDF5 file, or a damaged one"
        raise GranuleError(f"{path.name}: {reason}; fetch it again") from None
    try:
        yield GridFile(file, path.name, field)
    finally:
        with library_errors(path.name, "it cannot be closed"):
            file.close()


def plain(value: Any) -> str | float | None:
    """Return an attribute's value of any type: scalars, arrays of one, bytes and texts; None for others."""
    array = np.asarray(value)
    if array.size != 1:
        return None
    one = array.reshape(-1)[0]
    if isinstance(one, bytes):
        one = one.decode("ascii", errors="replace")
    if isinstance(one, str):
        return str(one).replace("\0", "").strip()
    return float(one) if isinstance(one, np.number | np.bool_) and not np.iscomplexobj(one) else None


def _find_grid(file: h5py.File, where: str, field: str) -> tuple[str, h5py.Group]:
    """Return the name and group of the grid with a field: the name differs between versions."""
    grids = _child(_child(file, "HDFEOS", h5py.Group, where), "GRIDS", h5py.Group, where)
    with library_errors(where, "its groups cannot be read"):
        found = [name for name in grids if f"{name}/Data Fields/{field}" in grids]
    if len(found) != 1:
        raise GranuleError(f"{where}: {len(found)} groups under /HDFEOS/GRIDS hold a layer {field}, not one")
    return found[0], _child(grids, found[0], h5py.Group, where)


def _child(group: h5py.Group, name: str, kind: type, where: str) -> Any:
    with library_errors(where, f"{name} is missing or cannot be read"):
        node = group[name]
    if not isinstance(node, kind):
        raise GranuleError(f"{where}: {name} is no {kind.__name__.lower()}")
    return node


def _text_dataset(file: h5py.File, place: str, where: str) -> str:
    dataset = _child(file, place, h5py.Dataset, where)
    with library_errors(where, f"{place} cannot be read"):
        size, kind = dataset.dtype.itemsize * int(dataset.size or 0), dataset.dtype.kind
    if not 0 < size <= _STRUCTURE_BYTES or kind not in "SO":
        raise GranuleError(f"{where}: {place} is no text")
    with library_errors(where, f"{place} cannot be read"):
        value = dataset[()]
    text = plain(value)
    if not isinstance(text, str):
        raise GranuleError(f"{where}: {place} is no text")
    return text


def _check_type(dataset: h5py.Dataset, dtype: str, shape: tuple[int, int], where: str) -> None:
    with library_errors(where, "its type cannot be read"):
        found, of_shape, stored = dataset.dtype, dataset.shape, dataset.id.get_type()
        whole = found.kind in "iu" and (stored.get_precision(), stored.get_offset()) == (8 * found.itemsize, 0)
    if found != np.dtype(dtype) or of_shape != shape or not whole:
        raise GranuleError(f"{where}: it is {found} {of_shape}, not {dtype} {shape}")
