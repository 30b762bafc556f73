"""Train: the joint network learns from sampled cells of the cube; its files go to `model/`."""

import io
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from model import JointClustering
from model.history import history_lines
from model.presets import pretraining_steps, with_preset
from pipeline import accounting, figures, layout, stores
from pipeline.accounting import Account
from pipeline.calendar import COMMON_YEAR, composite_dates
from pipeline.channels import read_channels
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.files import read_text, write_bytes, write_text
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.label_names import APART, SEASON_NAMES, day_in_words, days_apart, in_words, names_of
from pipeline.locations import Location
from pipeline.map_layers import maps_crops
from pipeline.memory import check_sample, training_limit
from pipeline.model_files import written_model
from pipeline.prepare import count_cells
from pipeline.progress import Reporter, Silent
from pipeline.series import Sample, sample_series
from pipeline.stage import StageResult
from pipeline.training_progress import TrainingBar
from pipeline.training_task import TrainingTask

STAGE: Final = "train"
VERSION: Final = 4
SAMPLE: Final = "sample.npz"  # row and column on the grid of every series that the network was given, in their order
_RECORD: Final = "training.json"


def train(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Train the joint network on sampled cells.

    Writes `model/`: weights (safetensors), configuration and scaler (JSON), history (JSON lines), the sampled cells,
    training.png. While it goes on, its state is kept in `training/`: after a kill it continues at the last target
    update.

    Raises:
        UserError: there is no prepared cube, too few cells are mapped, the sample does not fit into memory, or
            training does not converge.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    if not config.trains:
        raise UserError(
            f"{config.year} is mapped with the model of {config.inference.model_year} and none is trained: leave out "
            "inference.model_year for one of its own."
        )
    group = stores.require(config.cube, "prepare", "prepare")
    estimator = make_estimator(config)
    options = with_preset(estimator.get_params())
    mark = train_mark(config, group)
    folder = config.model
    record = read_record(folder)
    if record is not None and record["fingerprint"] == mark:
        shutil.rmtree(state_folder(config), ignore_errors=True)  # where a kill came after the model was complete
        return StageResult(STAGE, False, (folder,), record["facts"])
    n_cells = sum(count_cells(group, "train_mask").values())
    n_times, n_channels = layout.array(group, "time").shape[0], len(read_channels(group))
    limit = training_limit(executor.describe())
    check_sample(config, min(n_cells, config.training.sample_pixels), n_times, n_channels, limit)
    sample = sample_series(config.cube, config.training.sample_pixels, config.seed, executor, reporter)
    axes = expected_of_model(group)
    about = {name: axes[name] for name in ("calendar", "day_of_year", "channels")}
    about |= {"years": [config.year], "sitscube": version("sitscube")}
    state = state_folder(config)
    work = TrainingTask(
        estimator.get_params(), sample.series, about, state, mark, config.cube, config.training.target == "all"
    )
    before = pretraining_steps(estimator.get_params())
    accounting.collect(Account(pixels=len(sample.series)))
    with reporter.track("train", before + config.training.iterations) as task:
        files = executor.once(work, name=STAGE, listener=TrainingBar(task, reporter, before))
    estimator = read_files(files)
    facts = {
        "sampled_cells": len(sample.series),
        "iterations": estimator.n_iter_,
        "options": options,
        "labels": list(names_of(estimator, crops=maps_crops(group))),
        "peaks": [day_in_words(peak, config.ingest.calendar) for peak in estimator.cluster_peaks_.tolist()],
        "simulated": layout.attributes(group)["simulated"],
    }
    _say_when_labels_peak(facts, estimator, config, reporter)
    save(estimator, folder, {"fingerprint": mark, "facts": facts}, sample)
    shutil.rmtree(state, ignore_errors=True)
    return StageResult(STAGE, True, (folder,), facts)


def _say_when_labels_peak(
    facts: dict[str, Any], estimator: JointClustering, config: Config, reporter: Reporter
) -> None:
    names, peaks = facts["labels"], facts["peaks"]
    pairs = zip(names, peaks, strict=True)
    reporter.message("labels by the date of their peak: " + ", ".join(f"{in_words(n)} ({p})" for n, p in pairs))
    apart = days_apart(estimator.cluster_peaks_.tolist(), config.ingest.calendar)
    if names == list(SEASON_NAMES) and apart < APART:
        reporter.message(
            f"the two clusters peak {apart} days apart: winter and summer are no good names for them. Look at the "
            "curves in the report, and at which cells are mapped."
        )


def train_mark(config: Config, cube: zarr.Group) -> str:
    """Fingerprint of a model: of the prepared cube and of all settings of the training."""
    options = with_preset(make_estimator(config).get_params())  # what a preset stands for may change with the software
    made_from = stores.stage_fingerprint(cube, "prepare")
    return fingerprint(STAGE, VERSION, made_from, config.training, config.seed, options)


def read_files(files: dict[str, bytes]) -> JointClustering:
    """The estimator whose files these are, by name."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        return JointClustering.load(folder, device="cpu")


def state_folder(config: Config) -> Path:
    """Where the state of a training that has not ended is kept: on a disk, a folder for each place of outputs."""
    if config.local is None and isinstance(config.year_folder, Path):
        return config.year_folder / "training"
    place = fingerprint(str(config.out))
    return config.local_folder / config.region.name / str(config.year) / f"training-{place}"


def expected_of_model(cube: zarr.Group) -> dict[str, Any]:
    """What a model must say of itself to be used on a cube: the shape of its series, their dates and channels."""
    calendar = layout.attributes(cube)["composites"]
    days = composite_dates(COMMON_YEAR, calendar) - np.datetime64(f"{COMMON_YEAR}-01-01")  # in leap years, too
    channels = [channel.name for channel in read_channels(cube)]
    return {
        "n_times": layout.array(cube, "time").shape[0],
        "n_channels": len(channels),
        "calendar": calendar,
        "day_of_year": [int(day) + 1 for day in days.astype(int)],
        "channels": channels,
    }


def make_estimator(config: Config) -> JointClustering:
    """The estimator that the configuration describes, not yet fitted."""
    training = config.training
    return JointClustering(
        n_clusters=training.clusters,
        n_iter=training.iterations,
        batch_size=training.batch_size,
        target_interval=training.target_interval,
        pretrain_epochs=training.pretrain_epochs,
        warm_up=training.warm_up,
        hidden_size=training.hidden_size,
        preset=training.preset,
        start=training.start,
        adversarial_interval=training.adversarial_interval,
        w_clu=training.w_clu,
        w_gen=training.w_gen,
        learning_rate=training.learning_rate,
        clip_norm=training.clip_norm,
        tol=training.tol,
        device=training.device,
        random_state=config.seed,
    )


def save(estimator: JointClustering, folder: Location, record: dict[str, Any], sample: Sample) -> None:
    """Write the model's files and put them in the place of the old ones; the record goes last."""
    try:
        with written_model(folder, last=_RECORD) as made:
            estimator.save(made)
            history = history_lines(estimator.history_)
            write_text(made / "history.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in history))
            write_bytes(made / "training.png", figures.training(history))
            cells = io.BytesIO()
            np.savez_compressed(cells, row=sample.row, column=sample.column)
            write_bytes(made / SAMPLE, cells.getvalue())
            write_text(made / _RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another --out."
        ) from None


def read_history(folder: Location) -> list[dict[str, Any]]:
    """The lines that training left beside the model."""
    return [json.loads(line) for line in read_text(folder / "history.jsonl").splitlines()]


def read_record(folder: Location) -> dict[str, Any] | None:
    """What training left beside the model, or None where there is no finished model."""
    try:
        record: dict[str, Any] = json.loads(read_text(folder / _RECORD))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{folder / _RECORD} is damaged ({error}): remove {folder} and run `sitscube train`.") from None
    return record


def model_digest(folder: Location) -> str:
    """Digest of the model's content: what inference depends on.

    Raises:
        UserError: there is no finished model.
    """
    if read_record(folder) is None:
        raise UserError(f"there is no trained model in {folder}: run `sitscube train` with that --year and --out.")
    return fingerprint(content_digest(folder / "weights.safetensors"), content_digest(folder / "model.json"))
