"""Train: the joint network learns from sampled cells of the cube; its files go to `model/`."""

import io
import json
import shutil
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import zarr

from model import JointClustering, TrainingDiverged
from model.history import history_lines
from model.presets import pretraining_steps, with_preset
from pipeline import figures, layout, stores
from pipeline.channels import read_channels
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.files import partial_path, write_bytes, write_text
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.memory import check_sample
from pipeline.prepare import count_cells
from pipeline.progress import Reporter, Silent
from pipeline.series import Sample, sample_series, series_by_shard
from pipeline.stage import StageResult
from pipeline.training_progress import TrainingBar

STAGE: Final = "train"
VERSION: Final = 3
SAMPLE: Final = "sample.npz"  # row and column on the grid of every series that the network was given, in their order
_RECORD: Final = "training.json"
_FINGERPRINT: Final = "fingerprint"


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
    group = stores.require(config.cube, "prepare", "prepare")
    estimator = make_estimator(config)
    options = with_preset(estimator.get_params())  # what a preset stands for may change with the software
    mark = fingerprint(
        STAGE, VERSION, stores.stage_fingerprint(group, "prepare"), config.training, config.seed, options
    )
    folder = config.model
    record = read_record(folder)
    if record is not None and record["fingerprint"] == mark:
        shutil.rmtree(state_folder(config), ignore_errors=True)  # where a kill came after the model was complete
        return StageResult(STAGE, False, (folder,), record["facts"])
    torch.set_num_threads(1)  # measured: on networks this small a second thread costs more than it brings
    n_cells = sum(count_cells(group, "train_mask").values())
    n_times, n_channels = layout.array(group, "time").shape[0], len(read_channels(group))
    check_sample(config, min(n_cells, config.training.sample_pixels), n_times, n_channels)
    state = _begin_state(config, mark, reporter)
    sample = sample_series(config.cube, config.training.sample_pixels, config.seed, executor, reporter)
    before = pretraining_steps(estimator.get_params())
    with reporter.track("train", before + config.training.iterations) as task:
        try:
            estimator.fit(
                sample.series,
                progress=TrainingBar(task, reporter, before),
                checkpoint=state,
                population=partial(series_by_shard, config.cube) if config.training.target == "all" else None,
            )
        except (ValueError, TrainingDiverged) as error:
            raise UserError(
                f"training on {len(sample.series)} sampled cells of {config.cube} failed: {error}"
            ) from error
        except OSError as error:
            raise UserError(
                f"cannot write {state}: {error.strerror or error}. Free space or choose another --out."
            ) from None
    facts = {
        "sampled_cells": len(sample.series),
        "iterations": estimator.n_iter_,
        "options": options,
        "peaks": [int(peak) for peak in estimator.cluster_peaks_],
        "simulated": layout.attributes(group)["simulated"],
    }
    axes = expected_of_model(group)
    about = {name: axes[name] for name in ("calendar", "day_of_year", "channels")}
    about |= {"years": [config.year], "sitscube": version("sitscube")}
    save(estimator, folder, {"fingerprint": mark, "facts": facts}, sample, about)
    shutil.rmtree(state, ignore_errors=True)
    return StageResult(STAGE, True, (folder,), facts)


def state_folder(config: Config) -> Path:
    """Where the state of a training that has not ended is kept."""
    return config.year_folder / "training"


def _begin_state(config: Config, mark: str, reporter: Reporter) -> Path:
    """The folder of the training's state; what one with other inputs or settings left there is removed."""
    folder = state_folder(config)
    try:
        if folder.exists():
            written = folder / _FINGERPRINT
            if written.exists() and written.read_text() == mark:
                return folder
            reporter.message(f"an unfinished training with other inputs or settings is discarded: {folder}")
            written.unlink(
                missing_ok=True
            )  # first, so that a kill leaves nothing that looks like a state to go on from
            shutil.rmtree(folder)
        write_text(folder / _FINGERPRINT, mark)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another --out."
        ) from None
    return folder


def expected_of_model(cube: zarr.Group) -> dict[str, Any]:
    """What a model must say of itself to be used on a cube: the shape of its series, their dates and channels."""
    dates = layout.read_dates(cube)
    channels = [channel.name for channel in read_channels(cube)]
    return {
        "n_times": len(dates),
        "n_channels": len(channels),
        "calendar": layout.attributes(cube)["composites"],
        "day_of_year": [int(day) for day in (dates - dates.astype("datetime64[Y]")).astype(int) + 1],
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


def save(
    estimator: JointClustering, folder: Path, record: dict[str, Any], sample: Sample, about: dict[str, Any]
) -> None:
    """Write the model's folder beside the old one and put it in its place; the record goes last."""
    beside = partial_path(folder)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        estimator.save(beside, about=about)
        history = history_lines(estimator.history_)
        write_text(beside / "history.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in history))
        write_bytes(beside / "training.png", figures.training(history))
        cells = io.BytesIO()
        np.savez_compressed(cells, row=sample.row, column=sample.column)
        write_bytes(beside / SAMPLE, cells.getvalue())
        write_text(beside / _RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another --out."
        ) from None


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The lines that training left beside the model."""
    return [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]


def read_record(folder: Path) -> dict[str, Any] | None:
    """What training left beside the model, or None where there is no finished model."""
    try:
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{folder / _RECORD} is damaged ({error}): remove {folder} and run `sitscube train`.") from None
    return record


def model_digest(folder: Path) -> str:
    """Digest of the model's content: what inference depends on.

    Raises:
        UserError: there is no finished model.
    """
    if read_record(folder) is None:
        raise UserError(f"there is no trained model in {folder}: run `sitscube train` with the same --year and --out.")
    return fingerprint(content_digest(folder / "weights.safetensors"), content_digest(folder / "model.json"))
