"""Large files that a library writes itself: made on a disk of this machine, and put in place when they are whole."""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.locations import Location


@contextmanager
def placed(target: Location) -> Iterator[Path]:
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


def sweep(folder: Location, prefix: str = "") -> None:
    """Remove what killed runs have left of files whose names begin so; at a URL they leave nothing."""
    if isinstance(folder, Path) and folder.is_dir():
        for stray in folder.glob(f".{prefix}*.partial"):
            shutil.rmtree(stray) if stray.is_dir() else stray.unlink(missing_ok=True)
