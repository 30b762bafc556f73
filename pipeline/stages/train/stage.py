"""Train: fit the joint network to sampled cells of the cube, and write its files into `model/`."""

import io
import json
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final, TypedDict

import numpy as np
import zarr

from model import JointClustering
from model.parameters import pretraining_steps, with_preset
from model.training.history import history_lines
from pipeline.base import accounting
from pipeline.base.accounting import Account
from pipeline.base.errors import UserError
from pipeline.base.files import write_bytes, write_text
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
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
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.stages.context import Run
from pipeline.stages.memory import check_sample, training_limit
from pipeline.stages.train.progress import TrainingBar
from pipeline.stages.train.sample import Sample, sample_series
from pipeline.stages.train.task import TrainingTask

STAGE: Final = Stage.TRAIN
VERSION: Final = 4


class TrainingFacts(TypedDict):
    """What the summary and the report say of a training."""

    sampled_cells: int
    iterations: int
    options: dict[str, object]  # parameters of the estimator, with those of its preset
    labels: list[str]  # name of each label
    peaks: list[str]  # date of each label's peak, in words
    simulated: str  # the text by which simulated observations say so; empty for real ones


def train(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Train the joint network on sampled cells.

    Writes `model/`: weights (safetensors), configuration and scaler (JSON), history (JSON lines), the sampled cells,
    training.png. Meanwhile the state is saved in `training/`: after a kill training continues at the last target
    update.

    Raises:
        UserError: there is no prepared cube, too few cells are mapped, the sample does not fit into memory, or
            training does not converge.
    """
    run = Run.of(config, executor, reporter)
    if not config.trains:
        raise UserError(
            f"{config.year} is mapped with the model of {config.inference.model_year} and none is trained: leave out "
            "inference.model_year for one of its own."
        )
    cube, folder, state = stores.require(config.cube, Stage.PREPARE, "prepare"), config.model, state_folder(config)
    fingerprint = train_fingerprint(config, cube)
    record = read_record(folder)
    if record is not None and record["fingerprint"] == fingerprint:
        shutil.rmtree(state, ignore_errors=True)  # is there if a kill came after the model was complete
        return StageResult(STAGE, False, (folder,), record["facts"])
    sample = _draw(run, cube)
    estimator = _fit(run, cube, sample, state, fingerprint)
    facts = _facts(config, cube, sample, estimator)
    _report_peaks(run, facts, estimator)
    save(estimator, folder, {"fingerprint": fingerprint, "facts": facts}, sample)
    shutil.rmtree(state, ignore_errors=True)
    return StageResult(STAGE, True, (folder,), dict(facts))


def _draw(run: Run, cube: zarr.Group) -> Sample:
    """Draw the series to train on.

    Raises:
        UserError: training on them would not fit into memory.
    """
    config = run.config
    n_cells = sum(count_cells(cube, "train_mask").values())
    n_times, n_channels = layout.array(cube, "time").shape[0], len(read_channels(cube))
    limit = training_limit(run.executor.describe())
    check_sample(config, min(n_cells, config.training.sample_pixels), n_times, n_channels, limit)
    return sample_series(run, config.training.sample_pixels, config.seed)


def _fit(run: Run, cube: zarr.Group, sample: Sample, state: Path, fingerprint: Fingerprint) -> JointClustering:
    """Train on a GPU worker where there is one, else in this process; return the trained estimator."""
    config = run.config
    parameters = make_estimator(config).get_params()
    axes = expected_of_model(cube)
    about: dict[str, object] = {name: axes[name] for name in ("calendar", "day_of_year", "channels")}
    about |= {"years": [config.year], "sitscube": version("sitscube")}
    work = TrainingTask(
        parameters, sample.series, about, state, fingerprint, config.cube, config.training.target == "all"
    )
    before = pretraining_steps(parameters)
    accounting.collect(Account(pixels=len(sample.series)))
    with run.reporter.track("train", before + config.training.iterations) as task:
        files = run.executor.once(work, name=STAGE, listener=TrainingBar(task, run.reporter, before))
    return read_files(files)


def _facts(config: Config, cube: zarr.Group, sample: Sample, estimator: JointClustering) -> TrainingFacts:
    return {
        "sampled_cells": len(sample.series),
        "iterations": estimator.n_iter_,
        "options": with_preset(make_estimator(config).get_params()),
        "labels": list(names_of(estimator, crops=maps_crops(cube))),
        "peaks": [day_in_words(peak, config.ingest.calendar) for peak in estimator.cluster_peaks_.tolist()],
        "simulated": layout.attributes(cube)["simulated"],
    }


def _report_peaks(run: Run, facts: TrainingFacts, estimator: JointClustering) -> None:
    """Report when each label peaks, and warn where winter and summer are too close to each other."""
    names, peaks = facts["labels"], facts["peaks"]
    pairs = zip(names, peaks, strict=True)
    run.reporter.message("labels by the date of their peak: " + ", ".join(f"{in_words(n)} ({p})" for n, p in pairs))
    apart = days_apart(estimator.cluster_peaks_.tolist(), run.config.ingest.calendar)
    if names == list(SEASON_NAMES) and apart < APART:
        run.reporter.message(
            f"the two clusters peak {apart} days apart: winter and summer are no good names for them. Look at the "
            "curves in the report, and at which cells are mapped."
        )


def train_fingerprint(config: Config, cube: zarr.Group) -> Fingerprint:
    """Return the fingerprint of a model: of the prepared cube and of all settings of the training."""
    options = with_preset(make_estimator(config).get_params())  # a preset may change with the software
    made_from = stores.stage_fingerprint(cube, Stage.PREPARE)
    return fingerprint_of(STAGE, VERSION, made_from, config.training, config.seed, options)


def state_folder(config: Config) -> Path:
    """Return the folder of the state of an unfinished training: on this machine, one for each place of outputs."""
    if config.local is None and isinstance(config.year_folder, Path):
        return config.year_folder / "training"
    place = fingerprint_of(str(config.out))
    return config.local_folder / config.region.name / str(config.year) / f"training-{place}"


def make_estimator(config: Config) -> JointClustering:
    """Return the estimator that the configuration describes, not yet fitted."""
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


def save(estimator: JointClustering, folder: Location, record: Mapping[str, object], sample: Sample) -> None:
    """Write the model's files in place of the old ones.

    Args:
        estimator: fitted.
        folder: of the model.
        record: fingerprint and facts; written last, as it says that the model is whole.
        sample: on which the estimator was fitted.

    Raises:
        UserError: they cannot be written.
    """
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
