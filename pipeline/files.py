"""Small files, written whole or not at all."""

from pathlib import Path


def partial_path(path: Path) -> Path:
    """Where a file or folder is written before it takes its place; what a killed run leaves there is swept."""
    return path.with_name(f".{path.name}.partial")


def write_text(path: Path, text: str) -> None:
    """Write a text file by way of another name, so that it is never met half-written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by way of another name, so that it is never met half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = partial_path(path)
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
