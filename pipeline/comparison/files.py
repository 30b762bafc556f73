"""The files of a comparison: written whole or not at all, and only where that is known to be possible beforehand."""

from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import partial_path, write_text


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
