"""The allocator of memory: freed memory stays with the process, instead of going back to the system each time."""

import ctypes
import ctypes.util
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_REUSED: Final = 1 << 25  # bytes of a buffer; the most that glibc accepts, more than any of a batch
_KEPT: Final = 1 << 28  # bytes of free memory at the end of the heap


def keep_freed_memory() -> None:
    """Let this process reuse buffers of up to 32 MiB; without glibc nothing changes.

    Dask starts workers so that they return freed memory at once (MALLOC_TRIM_THRESHOLD_). A network then has page
    faults, batch by batch, on all that it had just freed, which takes a quarter of its time.
    """
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _REUSED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
