"""Small files, written whole or not at all, on a disk or at a URL."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.base.errors import UserError
from pipeline.base.locations import Location


def partial_path(path: Path) -> Path:
    """Where a file or folder is written before it takes its place; what a killed run leaves there is swept."""
    return path.with_name(f".{path.name}.partial")


def write_text(path: Location, text: str) -> None:
    """Write a text file so that it is never met half-written."""
    write_bytes(path, text.encode())


def write_bytes(path: Location, content: bytes) -> None:
    """Write a file so that it is never met half-written: by way of another name, or as one object at a URL."""
    if not isinstance(path, Path):
        path.fs.pipe_file(path.path, content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")  # two may write the same at the same time
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def read_bytes(path: Location) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    if isinstance(path, Path):
        return path.read_bytes()
    content: bytes = path.fs.cat_file(path.path)
    return content


def read_text(path: Location) -> str:
    """The content of a text file.

    Raises:
        FileNotFoundError: there is none.
        UnicodeDecodeError: it is no text (a ValueError).
    """
    return read_bytes(path).decode()


def remove_file(path: Location) -> None:
    """Remove a file; where there is none, nothing happens."""
    if isinstance(path, Path):
        path.unlink(missing_ok=True)
        return
    try:
        path.fs.rm_file(path.path)
    except FileNotFoundError:
        return


@contextmanager
def atomic_file(target: Location) -> Iterator[Path]:
    """Give a path to write to; when the block ends without an error, what it holds is put at `target`.

    On a disk it is renamed there, at a URL copied as one object.
    """
    if not isinstance(target, Path):
        with tempfile.TemporaryDirectory(prefix="sitscube-") as folder:
            path = Path(folder) / target.name
            yield path
            target.fs.put_file(str(path), target.path)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.partial")  # what libraries put beside it goes, too
    beside.mkdir()
    try:
        yield beside / target.name
        (beside / target.name).replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def sweep_partials(folder: Location, prefix: str = "") -> None:
    """Remove what killed runs have left of files whose names begin so; at a URL they leave nothing."""
    if isinstance(folder, Path) and folder.is_dir():
        for stray in folder.glob(f".{prefix}*.partial"):
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink(missing_ok=True)


def write_file(path: Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Free space or name another place.") from None


def check_writable(path: Path) -> None:
    """Raise UserError where a file could not be written: to know it before hours of training, not after them."""
    beside = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Name another place.") from None
