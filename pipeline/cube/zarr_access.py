"""Opening of Zarr stores on a disk or at a URL, with a count of the bytes that a task reads and writes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import zarr
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, LocalStore, WrapperStore

from pipeline.base import accounting
from pipeline.base.locations import Location


class CountingStore(WrapperStore[Store]):
    """Count the bytes that are read from and written to a store, for the task that opened it."""

    def __init__(self, store: Store, location: Location, account: accounting.Account | None) -> None:
        super().__init__(store)
        self.location = location
        self._account = account

    def _with_store(self, store: Store) -> "CountingStore":
        return CountingStore(store, self.location, self._account)

    def __str__(self) -> str:
        return str(self.location)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read an object or a part of it, and count the bytes."""
        value = await super().get(key, prototype, byte_range)
        self._count_read(value)
        return value

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of objects, and count the bytes."""
        values = await super().get_partial_values(prototype, key_ranges)
        for value in values:
            self._count_read(value)
        return values

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object, and count the bytes."""
        await super().set(key, value)
        self._count_written(value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write an object where there is none, and count the bytes."""
        await super().set_if_not_exists(key, value)
        self._count_written(value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)

    def _count_read(self, value: Buffer | None) -> None:
        if self._account is not None and value is not None:
            self._account.bytes_read += len(value)

    def _count_written(self, value: Buffer) -> None:
        if self._account is not None:
            self._account.bytes_written += len(value)


def open_store(location: Location, *, read_only: bool) -> CountingStore:
    """Return the Zarr store at a location; nothing is read or written yet."""
    store: Store
    if isinstance(location, Path):
        store = LocalStore(location, read_only=read_only)
    else:
        store = FsspecStore(_asynchronous(location.fs), read_only=read_only, path=location.path.rstrip("/"))
    return CountingStore(store, location, accounting.current())


def open_group(location: Location, mode: Literal["r", "r+"]) -> zarr.Group:
    """Open the root group of a store.

    Raises:
        FileNotFoundError: there is no store.
    """
    return zarr.open_group(open_store(location, read_only=mode == "r"), mode=mode, zarr_format=3)


def location_of(group: zarr.Group) -> Location:
    """Return the location of a group that `open_group` has opened.

    Raises:
        TypeError: the group was opened otherwise.
    """
    store = group.store
    if not isinstance(store, CountingStore):
        raise TypeError(f"{group.store_path} was opened elsewhere")
    return store.location


def _asynchronous(fs: AbstractFileSystem) -> AsyncFileSystem:
    """Return the filesystem for use in Zarr's event loop; those without asynchronous functions are wrapped."""
    if not fs.async_impl:
        return AsyncFileSystemWrapper(fs, asynchronous=True)
    return type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": True})
