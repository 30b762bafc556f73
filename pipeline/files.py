"""Small files, written whole or not at all, on a disk or at a URL."""

import uuid
from pathlib import Path

from pipeline.locations import Location


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
