"""Windows of HDF5 datasets, decoded by a chunk index that is verified before it is used.

HDF5 has no checksum of its older chunk indexes: a flipped bit moves a row to another place, or loses it, without an
error. Each packed row has a checksum (zlib), so that with a correct index no wrong value can be read. Unpacking here
costs about half of the time of reading through the library.
"""

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import h5py
import numpy as np

from pipeline.base.errors import GranuleError

_DEFLATE, _SHUFFLE, _FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32
_COMPRESSORS: Final = (_DEFLATE, h5py.h5z.FILTER_SZIP)
_UNPACKED_HERE: Final = ((), (_DEFLATE,), (_SHUFFLE, _DEFLATE))
# errors of h5py on damaged metadata, found by damaging files
_LIBRARY_ERRORS: Final = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError)


@contextmanager
def library_errors(where: str, what: str) -> Iterator[None]:
    """Turn h5py's errors into a GranuleError; it is used around single calls, so that nothing else is caught.

    Args:
        where: file, and layer if one is concerned.
        what: what is wrong if the call fails.
    """
    try:
        yield
    except _LIBRARY_ERRORS as error:
        raise GranuleError(f"{where}: {what} ({type(error).__name__}: {error}); fetch it again") from None


@dataclass(frozen=True)
class ChunkIndex:
    """The stored chunks of a dataset: their places in the array and in the file, verified by `chunk_index`."""

    grid: tuple[int, ...]  # number of chunks along each axis
    numbers: np.ndarray  # (n,) of the stored chunks, counted along rows, ascending
    offsets: np.ndarray  # (n,) first byte in the file
    sizes: np.ndarray  # (n,) bytes, packed

    @property
    def complete(self) -> bool:
        """Whether every chunk is stored."""
        return len(self.numbers) == math.prod(self.grid)


def filters(dataset: h5py.Dataset, where: str) -> tuple[int, ...]:
    """Return the numbers of the filters by which a chunked dataset is packed, in order.

    Raises:
        GranuleError: one of them is not among the expected lossless ones.
    """
    with library_errors(where, "its filters cannot be read"):
        creation = dataset.id.get_create_plist()
        found = tuple(int(creation.get_filter(n)[0]) for n in range(creation.get_nfilters()))
    for number in found:
        if number not in (*_COMPRESSORS, _SHUFFLE, _FLETCHER32):
            raise GranuleError(f"{where}: it is packed by HDF5 filter {number}, which no such product uses")
    return found


def chunk_index(dataset: h5py.Dataset, where: str, file_size: int) -> ChunkIndex:
    """Read the index of a chunked dataset, of any rank, and verify each entry.

    Args:
        dataset: the dataset.
        where: file and layer, for messages.
        file_size: bytes of the file.

    Raises:
        GranuleError: chunks are listed twice, out of order, at impossible places, outside the file, or unfiltered.
    """
    with library_errors(where, "its shape cannot be read"):
        shape, chunk, itemsize = dataset.shape, dataset.chunks, dataset.dtype.itemsize
    grid = tuple(-(-size // step) for size, step in zip(shape, chunk, strict=True))
    most = math.prod(grid)
    width = len(shape) + 3
    listed: list[int] = []

    def note(info: h5py.h5d.StoreInfo) -> bool | None:
        listed.extend((*info.chunk_offset, info.byte_offset, info.size, info.filter_mask))
        return True if len(listed) > most * width else None  # a damaged index may be a cycle

    with library_errors(where, "its chunk index cannot be read"):
        dataset.id.chunk_iter(note)
    if len(listed) > most * width:
        raise GranuleError(f"{where}: the chunk index lists more than the {most} chunks that there can be")
    # damaged numbers of 64 bits may exceed signed integers; as floating-point numbers they keep their size
    entries = np.array(listed, float).reshape(-1, width)
    places, (offsets, sizes, masks) = entries[:, :-3], entries[:, -3:].T
    steps = places / chunk
    if (steps != np.floor(steps)).any() or (steps < 0).any() or (steps >= grid).any():
        raise GranuleError(f"{where}: the chunk index lists chunks outside the layer or between its chunks")
    if masks.any():
        raise GranuleError(f"{where}: the chunk index says that filters were skipped, which no such product does")
    if (offsets <= 0).any() or (sizes <= 0).any() or (offsets + sizes > file_size).any():
        raise GranuleError(f"{where}: the chunk index points outside the file")
    numbers = np.ravel_multi_index(tuple(steps.astype(np.int64).T), grid) if len(steps) else np.zeros(0, np.int64)
    if (np.diff(numbers) <= 0).any():
        raise GranuleError(f"{where}: the chunk index is out of order")
    found = filters(dataset, where)
    if not set(found) & set(_COMPRESSORS):
        expected = math.prod(chunk) * itemsize + (4 if _FLETCHER32 in found else 0)
        if (sizes != expected).any():
            raise GranuleError(f"{where}: chunks that are not packed are of other sizes than {expected} bytes")
    index = ChunkIndex(grid, numbers, offsets.astype(np.int64), sizes.astype(np.int64))
    refuse_overlaps([(index.offsets, index.sizes)], where)
    return index


def refuse_overlaps(spans: Sequence[tuple[np.ndarray, np.ndarray]], where: str) -> None:
    """Check that byte ranges (offsets, sizes) of one file do not overlap.

    Raises:
        GranuleError: they do, so that an index is wrong.
    """
    if not spans:
        return
    offsets, sizes = (np.concatenate([span[n] for span in spans]) for n in (0, 1))
    order = np.argsort(offsets, kind="stable")
    if (offsets[order][1:] < (offsets + sizes)[order][:-1]).any():
        raise GranuleError(f"{where}: chunk indexes point to the same bytes of the file twice; fetch it again")


@dataclass(frozen=True)
class PackedLayer:
    """A two-dimensional chunked dataset that is unpacked here: all that reading a window needs, verified."""

    index: ChunkIndex
    shape: tuple[int, int]
    chunk: tuple[int, int]
    dtype: np.dtype
    packing: tuple[int, ...]

    def read(self, descriptor: int, rows: slice, columns: slice, *, where: str, missing: int | None) -> np.ndarray:
        """Read a window from an open file; only chunks that it touches are read and unpacked.

        Args:
            descriptor: of the file.
            rows: of the window, with step 1.
            columns: of the window, with step 1.
            where: file and layer, for messages.
            missing: value of chunks that are left out; None: all are stored.

        Raises:
            GranuleError: a chunk cannot be read or unpacked.
        """
        top, bottom, left, right = _bounds(self.shape, rows, columns)
        height, width = self.chunk
        out = np.full((bottom - top, right - left), 0 if missing is None else missing, self.dtype)
        chunk_row, chunk_column = np.divmod(self.index.numbers, self.index.grid[1])
        touched = (
            (chunk_row * height < bottom)
            & ((chunk_row + 1) * height > top)
            & (chunk_column * width < right)
            & ((chunk_column + 1) * width > left)
        )
        lists = (chunk_row * height, chunk_column * width, self.index.offsets, self.index.sizes)
        for row, column, offset, size in zip(*(values[touched].tolist() for values in lists), strict=True):
            try:
                packed = os.pread(descriptor, size, offset)
            except OSError as error:
                raise GranuleError(f"{where}: it cannot be read ({error.strerror})") from None
            values = _values(packed, self.packing, self.dtype, height * width, where)
            r0, r1 = max(row, top), min(row + height, bottom)
            c0, c1 = max(column, left), min(column + width, right)
            part = values.reshape(height, width)[r0 - row : r1 - row, c0 - column : c1 - column]
            out[r0 - top : r1 - top, c0 - left : c1 - left] = part
        return out


def packed_layer(dataset: h5py.Dataset, index: ChunkIndex, where: str, missing: int | None) -> PackedLayer | None:
    """Return what reading windows of a chunked dataset needs; None if the library has to unpack it.

    Args:
        dataset: two-dimensional, of integers.
        index: its chunks.
        where: file and layer, for messages.
        missing: the one fill value with which chunks may be left out; None: all must be stored.

    Raises:
        GranuleError: chunks are left out that must not be, or the storage cannot be read.
    """
    if not index.complete:
        refuse_holes(dataset, where, missing)
    packing = filters(dataset, where)
    with library_errors(where, "its storage cannot be read"):
        shape, chunk, dtype, user_block = dataset.shape, dataset.chunks, dataset.dtype, dataset.file.userblock_size
    if packing not in _UNPACKED_HERE or user_block or len(shape) != 2:
        return None
    return PackedLayer(index, shape, chunk, dtype, packing)


def read_window(
    dataset: h5py.Dataset, rows: slice, columns: slice, *, where: str, missing: int | None = None
) -> np.ndarray:
    """Read a window of a two-dimensional dataset of integers; only chunks that it touches are decoded.

    Args:
        dataset: the dataset.
        rows: of the window, with step 1.
        columns: of the window, with step 1.
        where: file and layer, for messages.
        missing: the one fill value with which chunks may be left out; None: all must be stored.

    Returns:
        Array (rows, columns) of the dataset's type.

    Raises:
        GranuleError: the window cannot be decoded, or the dataset is not stored as it should be.
    """
    with library_errors(where, "its storage cannot be read"):
        chunked, shape = dataset.chunks is not None, dataset.shape
        descriptor = dataset.file.id.get_vfd_handle()
    if len(shape) != 2:
        raise GranuleError(f"{where}: it has the shape {shape}, not rows and columns")
    top, bottom, left, right = _bounds(shape, rows, columns)
    if chunked:
        index = chunk_index(dataset, where, os.fstat(descriptor).st_size)
        packed = packed_layer(dataset, index, where, missing)
        if packed is not None:
            return packed.read(descriptor, rows, columns, where=where, missing=missing)
    elif not is_stored(dataset, where):
        refuse_holes(dataset, where, missing)
    with library_errors(where, "pixels cannot be decoded"):
        values: np.ndarray = dataset[top:bottom, left:right]
    return values


def _bounds(shape: tuple[int, ...], rows: slice, columns: slice) -> tuple[int, int, int, int]:
    """Return first row, last row, first column, last column of a window; the last ones excluded."""
    first_row, last_row, row_step = rows.indices(shape[0])
    first_column, last_column, column_step = columns.indices(shape[1])
    if row_step != 1 or column_step != 1:
        raise ValueError("windows have step 1")
    return first_row, max(first_row, last_row), first_column, max(first_column, last_column)


def is_stored(dataset: h5py.Dataset, where: str) -> bool:
    """Return whether the file has bytes for a dataset that is not chunked."""
    with library_errors(where, "its storage cannot be read"):
        compact = dataset.id.get_create_plist().get_layout() == h5py.h5d.COMPACT
        return compact or dataset.id.get_offset() is not None


def refuse_holes(dataset: h5py.Dataset, where: str, missing: int | None) -> None:
    """Check that a dataset declares `missing` as the value of what is not stored.

    Raises:
        GranuleError: it declares another value.
    """
    with library_errors(where, "its fill value cannot be read"):
        declared = int(dataset.fillvalue)
    if missing is None or declared != missing:
        raise GranuleError(f"{where}: rows are not stored, and the fill value {declared} does not say that none exist")


def _values(packed: bytes, packing: tuple[int, ...], dtype: np.dtype, count: int, where: str) -> np.ndarray:
    """Unpack one chunk."""
    length = count * dtype.itemsize
    try:
        plain = zlib.decompress(packed, bufsize=length) if _DEFLATE in packing else packed
    except zlib.error as error:
        raise GranuleError(f"{where}: pixels cannot be decoded ({error}); fetch it again") from None
    if len(plain) != length:
        raise GranuleError(f"{where}: a chunk holds {len(plain)} bytes, not {length}; fetch it again")
    if _SHUFFLE in packing and dtype.itemsize > 1:
        plain = np.frombuffer(plain, np.uint8).reshape(dtype.itemsize, count).T.tobytes()
    return np.frombuffer(plain, dtype)
