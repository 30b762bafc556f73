"""Small files, written whole or not at all."""

from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Write a text file by way of another name, so that it is never met half-written."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file by way of another name, so that it is never met half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
