"""Replacement of a store by another one that is complete: by renaming on a disk, by copying at a URL."""

import json
import shutil
from pathlib import Path

from pipeline.base.files import read_bytes, write_text
from pipeline.base.locations import Location, keys_below
from pipeline.base.locks.store import fence_path
from pipeline.cube import stores


def replace_store(beside: Location, path: Location) -> None:
    """Replace a store by a finished one; after a kill on the way, `recover` completes or undoes it.

    At a URL, the store is marked as not complete until the last object is copied.

    Args:
        beside: the finished store, which is gone afterwards.
        path: the store that it replaces, if there is one.
    """
    if not (isinstance(path, Path) and isinstance(beside, Path)):
        _copy_over(beside, path)
        return
    away = _away(path)
    if stores.find(path) is not None:
        shutil.rmtree(away, ignore_errors=True)
        path.rename(away)
    beside.rename(path)
    fence_path(beside).unlink(missing_ok=True)  # no other run writes to this temporary store
    shutil.rmtree(away, ignore_errors=True)


def recover(beside: Location, path: Location) -> None:
    """Undo or finish a `replace_store` that was killed, and remove its temporary files."""
    if isinstance(path, Path) and isinstance(beside, Path):
        if not path.exists() and _away(path).exists():
            _away(path).rename(path)
        shutil.rmtree(_away(path), ignore_errors=True)
        stores.discard(beside)
        fence_path(beside).unlink(missing_ok=True)
        return
    ready = stores.find(beside)
    if ready is not None and ready.attrs.get("complete"):
        _copy_over(beside, path)
    else:
        stores.discard(beside)


def _copy_over(beside: Location, path: Location) -> None:
    if stores.find(path) is not None:
        stores.clear(path)
    root = json.loads(read_bytes(beside / stores.ROOT))
    root["attributes"] |= stores.NOT_BEGUN
    write_text(path / stores.ROOT, json.dumps(root))
    for key in sorted(keys_below(beside) - {stores.ROOT}):
        _copy(beside / key, path / key)
    _copy(beside / stores.ROOT, path / stores.ROOT)
    stores.discard(beside)


def _copy(source: Location, target: Location) -> None:
    source.fs.cp_file(source.path, target.path)  # type: ignore[union-attr]


def _away(path: Path) -> Path:
    return path.with_name(f".{path.name}.discarded")
