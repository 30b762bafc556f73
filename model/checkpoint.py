"""A trained estimator as a directory of two files, weights.safetensors and model.json; reading it runs no code."""

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from model.fitting import new_model
from model.options import check_parameters, choose_device
from model.series import ChannelScaler

if TYPE_CHECKING:
    from model.base import SeriesClustering

FORMAT = "sitscube joint clustering"
FORMAT_VERSION = 1
WEIGHTS, DESCRIPTION = "weights.safetensors", "model.json"

Estimator = TypeVar("Estimator", bound="SeriesClustering")


def write(estimator: "SeriesClustering", path: Path) -> None:
    """Write the directory beside its place, then rename it there; whatever else lies at `path` is refused."""
    if path.exists() and not (path / DESCRIPTION).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} exists and is not a saved model; choose another path")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in estimator.model_.state_dict().items()}
    save_file(weights, partial / WEIGHTS)
    text = json.dumps(_describe(estimator), sort_keys=True, indent=1, allow_nan=False)
    (partial / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    replaced = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def _describe(estimator: "SeriesClustering") -> dict[str, Any]:
    parameters = {name: value for name, value in estimator.get_params().items() if name != "device"}
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parameters": parameters,
        "scaler": {"minimum": estimator.scaler_.minimum, "maximum": estimator.scaler_.maximum},
        "n_times": estimator.n_times_,
        "n_channels": estimator.n_channels_,
        "n_iter": estimator.n_iter_,
        "cluster_peaks": estimator.cluster_peaks_.tolist(),
        "cluster_profiles": estimator.cluster_profiles_.tolist(),
        "history": estimator.history_,
    }


def read(cls: type[Estimator], path: Path, device: str) -> Estimator:
    """The estimator saved at `path`, on `device`; ValueError says what is missing or differs."""
    description = _read_description(path / DESCRIPTION)
    try:
        estimator = cls(**description["parameters"], device=device)
        check_parameters(estimator.get_params())
        estimator.n_times_, estimator.n_channels_ = int(description["n_times"]), int(description["n_channels"])
        scaler = description["scaler"]
        estimator.scaler_ = ChannelScaler(tuple(scaler["minimum"]), tuple(scaler["maximum"]))
        estimator.n_iter_, estimator.history_ = description["n_iter"], description["history"]
        estimator.cluster_peaks_ = np.asarray(description["cluster_peaks"], np.int64)
        estimator.cluster_profiles_ = np.asarray(description["cluster_profiles"], np.float32)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path / DESCRIPTION} is not a complete model description: {error}") from error
    estimator.model_ = new_model(estimator._training_parameters(), estimator.n_times_, estimator.n_channels_)
    estimator.model_.load_state_dict(_read_weights(path / WEIGHTS, estimator.model_.state_dict()))
    estimator.model_.to(choose_device(device))
    return estimator


def _read_description(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise ValueError(f"{file} does not exist: {file.parent} is not a saved model")
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    found = (description.get("format"), description.get("format_version")) if isinstance(description, dict) else None
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(f"{file} has (format, version) {found}; this version reads {(FORMAT, FORMAT_VERSION)}")
    return dict(description)


def _read_weights(file: Path, expected: dict[str, Any]) -> dict[str, Any]:
    try:
        weights = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    for name, tensor in expected.items():
        if name not in weights:
            raise ValueError(f"{file} lacks the tensor {name!r}")
        found, wanted = weights[name], tensor
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(
                f"{file}: tensor {name!r} is {found.dtype} {tuple(found.shape)}; "
                f"model.json asks for {wanted.dtype} {tuple(wanted.shape)}"
            )
    if extra := sorted(set(weights) - set(expected)):
        raise ValueError(f"{file} has tensors that model.json does not ask for: {', '.join(extra)}")
    return weights
