"""The files of a trained model: on a disk, where `model` reads and writes them, or at a URL."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
import torch
import zarr

from model import JointClustering
from pipeline.base.allocator import keep_freed_memory
from pipeline.base.calendar import COMMON_YEAR, composite_dates
from pipeline.base.errors import UserError
from pipeline.base.files import partial_path, read_text, remove_file, write_bytes
from pipeline.base.fingerprint import Fingerprint, content_digest, fingerprint_of
from pipeline.base.locations import Location, keys_below, read_many
from pipeline.cube import layout
from pipeline.cube.channels import read_channels

SAMPLE: Final = "sample.npz"  # row and column on the grid of every training series, in their order
TRAINING_RECORD: Final = "training.json"


class TrainingRecord(TypedDict, total=False):
    """Describe a finished training."""

    fingerprint: Fingerprint  # of the prepared cube and of all settings of the training
    facts: dict[str, object]  # JSON-able figures for report and summary


def read_files(files: dict[str, bytes]) -> JointClustering:
    """Load an estimator from the contents of its files, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return JointClustering.load(folder, device="cpu")


def expected_of_model(cube: zarr.Group) -> dict[str, object]:
    """Return the description that a model must have for a cube: shape, dates and channels of its series."""
    calendar = layout.attributes(cube)["composites"]
    days = composite_dates(COMMON_YEAR, calendar) - np.datetime64(
        f"{COMMON_YEAR}-01-01"
    )  # of a common year, in leap years, too
    channels = [channel.name for channel in read_channels(cube)]
    return {
        "n_times": layout.array(cube, "time").shape[0],
        "n_channels": len(channels),
        "calendar": calendar,
        "day_of_year": [int(day) + 1 for day in days.astype(int)],
        "channels": channels,
    }


def read_history(folder: Location) -> list[dict[str, Any]]:
    """Read the history of a training: one record per line, any JSON."""
    return [json.loads(line) for line in read_text(folder / "history.jsonl").splitlines()]


def read_record(folder: Location) -> TrainingRecord | None:
    """Read the record of a finished training, or return None where there is no finished model.

    Raises:
        UserError: the record is damaged.
    """
    path = folder / TRAINING_RECORD
    try:
        record: TrainingRecord = json.loads(read_text(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove {folder} and run `sitscube train`.") from None
    return record


def model_digest(folder: Location) -> Fingerprint:
    """Return the fingerprint of the model's content, on which inference depends.

    Raises:
        UserError: there is no finished model.
    """
    if read_record(folder) is None:
        raise UserError(f"there is no trained model in {folder}: run `sitscube train` with that --year and --out.")
    return fingerprint_of(content_digest(folder / "weights.safetensors"), content_digest(folder / "model.json"))


def fitting_model(folder: Location, cube: zarr.Group) -> JointClustering:
    """Load the trained model and check that its dates, calendar and channels are those of the cube.

    Raises:
        UserError: the files are damaged or of another version, or the model does not fit; the message says why.
    """
    try:
        with model_on_disk(folder) as copy:
            return JointClustering.load(copy, device="cpu", expect=expected_of_model(cube))
    except (ValueError, OSError) as error:
        raise UserError(
            f"the model in {folder} cannot be used on {cube.store_path}: {error} `sitscube train` makes one that fits, "
            "and without inference.model_year it is the year's own."
        ) from None


def load_model(folder: Location, device: str = "cpu") -> JointClustering:
    """Load the trained model for inference.

    Args:
        folder: folder of the model.
        device: "auto" (CUDA where there is one), "cpu", "cuda", ...

    Raises:
        UserError: the files are damaged, or of another version.
    """
    torch.set_num_threads(1)  # networks of this size are slower on several, and other workers need the cores
    keep_freed_memory()
    try:
        with model_on_disk(folder) as copy:
            return JointClustering.load(copy, device=device)
    except (ValueError, OSError) as error:
        raise UserError(f"the model in {folder} cannot be used: {error}. Run `sitscube train` again.") from None


@contextmanager
def model_on_disk(folder: Location) -> Iterator[Path]:
    """Return the folder of a model on a local disk: itself, or a copy for the duration of the block."""
    if isinstance(folder, Path):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="sitscube-model-") as name:
        copy = Path(name)
        for key, content in read_many(folder, sorted(keys_below(folder))).items():
            write_bytes(copy / key, content)
        yield copy


@contextmanager
def replacing_model(folder: Location, last: str) -> Iterator[Path]:
    """Return a folder on a local disk whose files replace the model when the block ends without an error.

    Args:
        folder: folder of the model.
        last: name of the file that marks the model as complete; at a URL it is removed first and written last.

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
