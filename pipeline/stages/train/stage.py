"""Train: the joint network learns from sampled cells of the cube; its files go to `model/`."""

import io
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import zarr

from model import JointClustering
from model.parameters import pretraining_steps, with_preset
from model.training.history import history_lines
from pipeline.base import accounting
from pipeline.base.accounting import Account
from pipeline.base.errors import UserError
from pipeline.base.files import write_bytes, write_text
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.label_names import APART, SEASON_NAMES, day_in_words, days_apart, in_words, names_of
from pipeline.cube.map_layers import maps_crops
from pipeline.cube.masks import count_cells
from pipeline.cube.trained_model import (
    SAMPLE,
    TRAINING_RECORD,
    expected_of_model,
    read_files,
    read_record,
    replacing_model,
)
from pipeline.reports import figures
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.stage import StageResult
from pipeline.stages.memory import check_sample, training_limit
from pipeline.stages.train.progress import TrainingBar
from pipeline.stages.train.sample import Sample, sample_series
from pipeline.stages.train.task import TrainingTask

STAGE: Final = Stage.TRAIN
VERSION: Final = 4


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
    group = stores.require(config.cube, Stage.PREPARE, "prepare")
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
    made_from = stores.stage_fingerprint(cube, Stage.PREPARE)
    return fingerprint_of(STAGE, VERSION, made_from, config.training, config.seed, options)


def state_folder(config: Config) -> Path:
    """Where the state of a training that has not ended is kept: on a disk, a folder for each place of outputs."""
    if config.local is None and isinstance(config.year_folder, Path):
        return config.year_folder / "training"
    place = fingerprint_of(str(config.out))
    return config.local_folder / config.region.name / str(config.year) / f"training-{place}"


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
        with replacing_model(folder, last=TRAINING_RECORD) as made:
            estimator.save(made)
            history = history_lines(estimator.history_)
            write_text(made / "history.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in history))
            write_bytes(made / "training.png", figures.training(history))
            cells = io.BytesIO()
            np.savez_compressed(cells, row=sample.row, column=sample.column)
            write_bytes(made / SAMPLE, cells.getvalue())
            write_text(made / TRAINING_RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another --out."
        ) from None
