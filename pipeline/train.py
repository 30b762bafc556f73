"""Train: the joint network learns from sampled cells of the cube; its files go to `model/`."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import torch

from model import JointClustering, TrainingDiverged
from pipeline import figures, layout, stores
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.files import partial_path, write_bytes, write_text
from pipeline.fingerprint import content_digest, fingerprint
from pipeline.progress import Reporter, Silent, Task
from pipeline.series import sample_series
from pipeline.stage import StageResult

STAGE: Final = "train"
VERSION: Final = 1
_RECORD: Final = "training.json"


def train(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Train the joint network on sampled cells.

    Writes `model/`: weights (safetensors), configuration and scaler (JSON), history (JSON lines), training.png.

    Raises:
        UserError: there is no prepared cube, too few cells are mapped, or training does not converge.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    group = stores.require(config.cube, "prepare", "prepare")
    mark = fingerprint(STAGE, VERSION, stores.stage_fingerprint(group, "prepare"), config.training, config.seed)
    folder = config.model
    record = read_record(folder)
    if record is not None and record["fingerprint"] == mark:
        return StageResult(STAGE, False, (folder,), record["facts"])
    torch.set_num_threads(1)  # measured: on networks this small a second thread costs more than it brings
    series = sample_series(config.cube, config.training.sample_pixels, config.seed, executor, reporter)
    estimator = make_estimator(config)
    with reporter.track("train", config.training.pretrain_epochs + config.training.iterations) as task:
        try:
            estimator.fit(series, progress=_Bar(task))
        except (ValueError, TrainingDiverged) as error:
            raise UserError(f"training on {len(series)} sampled cells of {config.cube} failed: {error}") from error
    facts = {
        "sampled_cells": len(series),
        "iterations": estimator.n_iter_,
        "adversarial_interval": config.training.adversarial_interval,
        "peaks": [int(peak) for peak in estimator.cluster_peaks_],
        "simulated": layout.attributes(group)["simulated"],
    }
    save(estimator, folder, {"fingerprint": mark, "facts": facts})
    return StageResult(STAGE, True, (folder,), facts)


def make_estimator(config: Config) -> JointClustering:
    """The estimator that the configuration describes, not yet fitted."""
    training = config.training
    return JointClustering(
        n_clusters=training.clusters,
        n_iter=training.iterations,
        batch_size=training.batch_size,
        target_interval=training.target_interval,
        pretrain_epochs=training.pretrain_epochs,
        preset=training.preset,
        adversarial_interval=training.adversarial_interval,
        w_gen=training.w_gen,
        clip_norm=training.clip_norm,
        device=training.device,
        random_state=config.seed,
    )


def save(estimator: JointClustering, folder: Path, record: dict[str, Any]) -> None:
    """Write the model's folder beside the old one and put it in its place; the record goes last."""
    beside = partial_path(folder)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        estimator.save(beside)
        history = history_lines(estimator.history_)
        write_text(beside / "history.jsonl", "".join(json.dumps(line, sort_keys=True) + "\n" for line in history))
        write_bytes(beside / "training.png", figures.training(history))
        write_text(beside / _RECORD, json.dumps(record, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror or error}. Free space or choose another --out."
        ) from None


def history_lines(history: dict[str, Any]) -> list[dict[str, Any]]:
    """The estimator's history as one flat record a line: pre-training epochs, target updates, and special events."""
    losses = history["pretraining"]["losses"]
    return (
        [{"phase": "pretrain", "epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)]
        + [{"phase": "joint", **update} for update in history["updates"]]
        + [{"phase": "event", **event} for event in history["events"]]
    )


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


class _Bar:
    """Turns the estimator's progress events, which count from the start of their phase, into steps of one bar."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._done: dict[str, int] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        before = self._done.get(event["phase"], 0)
        self._done[event["phase"]] = max(before, event["step"])
        losses = " ".join(f"{name} {value:.3g}" for name, value in event["losses"].items())
        self._task.advance(max(0, event["step"] - before), note=f"{event['phase']} {losses}")
