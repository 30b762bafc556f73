"""A trained model's files, which `model` reads and writes on a disk, wherever the outputs lie."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.files import partial_path, remove_file, write_bytes
from pipeline.locations import Location, keys_below, read_many


@contextmanager
def local_copy(folder: Location) -> Iterator[Path]:
    """A model's folder on this disk: itself where it lies on one, else a copy that is there while the block lasts."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sitscube-model-") as name:
        copy = Path(name)
        for key, content in read_many(folder, sorted(keys_below(folder))).items():
            write_bytes(copy / key, content)
        yield copy


@contextmanager
def written_model(folder: Location, last: str) -> Iterator[Path]:
    """A folder on this disk that takes the model's place when the block has ended well: what was there goes.

    Args:
        folder: of the model.
        last: name of the file that says that the model is whole: removed first and written last at a URL.

    Raises:
        OSError: the files cannot be written.
    """
    if isinstance(folder, Path):
        beside = partial_path(folder)
        shutil.rmtree(beside, ignore_errors=True)
        yield beside
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        return
    with tempfile.TemporaryDirectory(prefix="sitscube-model-") as name:
        made = Path(name) / "model"
        yield made
        remove_file(folder / last)
        old, new = keys_below(folder), sorted(keys_below(made) - {last})
        for key in [*new, last]:
            write_bytes(folder / key, made.joinpath(key).read_bytes())
        for key in sorted(old - {*new, last}):
            remove_file(folder / key)
