"""Files that are written whole or not at all, on a disk or at a URL."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.base.errors import UserError
from pipeline.base.locations import Location


def partial_path(path: Path) -> Path:
    """Return where a folder is written before it takes its place, so that one left by a killed run is found."""
    return path.with_name(f".{path.name}.partial")


def _own_partial_path(path: Path) -> Path:
    """Return such a path that no other writer uses: two may write the same file at the same time."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")


def write_text(path: Location, text: str) -> None:
    """Write a text file so that no reader finds half of it."""
    write_bytes(path, text.encode())


def write_bytes(path: Location, content: bytes) -> None:
    """Write a file so that no reader finds half of it: under another name first, or as one object at a URL."""
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _own_partial_path(path)
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_bytes(path: Location) -> bytes:
    """Return the content of a file.

    Raises:
        FileNotFoundError: it does not exist.
    """
    if isinstance(path, Path):
        return path.read_bytes()
    content: bytes = path.fs.cat_file(path.path)
    return content


def read_text(path: Location) -> str:
    """Return the content of a text file.

    Raises:
        FileNotFoundError: it does not exist.
        UnicodeDecodeError: it is no text (a ValueError).
    """
    return read_bytes(path).decode()


def remove_file(path: Location) -> None:
    """Remove a file if it exists."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    try:
        path.fs.rm_file(path.path)
    except FileNotFoundError:
        return


@contextmanager
def atomic_file(target: Location) -> Iterator[Path]:
    """Yield a path to write to; the file there takes its place at `target` when the block ends without an error.

    It is renamed on a disk, and copied as one object to a URL.
    """
    if not isinstance(target, Path):
        with tempfile.TemporaryDirectory(prefix="sitscube-") as folder:
            path = Path(folder) / target.name
            yield path
            target.fs.put_file(str(path), target.path)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = _own_partial_path(target)  # a folder: what libraries write beside their file is removed with it
    beside.mkdir()
    try:
        yield beside / target.name
        (beside / target.name).replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sweep_partials(folder: Location, prefix: str = "") -> None:
    """Remove what killed runs left of files whose names begin with `prefix`; at a URL they leave nothing."""
    if isinstance(folder, Path) and folder.is_dir():
        for stray in folder.glob(f".{prefix}*.partial"):
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink(missing_ok=True)


def write_file(path: Path, text: str) -> None:
    """Write a text file that a user has named, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Free space or name another place.") from None


def check_writable(path: Path) -> None:
    """Check that a file can be written: to know it before hours of training, not after them.

    Raises:
        UserError: it cannot be written.
    """
    beside = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Name another place.") from None
