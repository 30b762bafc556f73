"""What model.json says of a trained estimator besides its weights, and that it is true."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.parameters import check_parameters, choose_device, plain_parameters
from model.series import ChannelScaler

FORMAT = "sitscube clustering"
FORMAT_VERSION = 2


def describe(estimator: Any, about: Mapping[str, Any]) -> str:
    """The text of model.json; ValueError where `about` is not JSON."""
    parameters = {name: value for name, value in estimator.get_params().items() if name != "device"}
    if isinstance(parameters["random_state"], np.random.RandomState):
        parameters["random_state"] = None  # the generator has moved on: it could not give this model again
    history = estimator.history_
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": type(estimator).__name__,
        "parameters": plain_parameters(parameters),
        "scaler": {"minimum": estimator.scaler_.minimum, "maximum": estimator.scaler_.maximum},
        "n_times": estimator.n_times_,
        "n_channels": estimator.n_channels_,
        "n_iter": estimator.n_iter_,
        "feature_names": getattr(estimator, "feature_names_in_", np.array([])).tolist(),
        "cluster_peaks": estimator.cluster_peaks_.tolist(),
        "cluster_profiles": estimator.cluster_profiles_.tolist(),
        "history": {name: value for name, value in history.items() if name != "snapshots"},
        "snapshots": bool(history.get("snapshots")),
        "about": _as_json(about, "about"),
    }
    return json.dumps(description, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _as_json(items: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The items as they come back from a file: tuples as lists. ValueError where JSON cannot hold them."""
    try:
        found = json.loads(json.dumps(dict(items), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must hold nothing but what JSON does: {error}") from error
    return dict(found)


def read_description(file: Path, estimator: str) -> dict[str, Any]:
    """The content of model.json, written by an estimator of this name; ValueError says what it is instead."""
    if not file.is_file():
        raise ValueError(f"{file} does not exist: {file.parent} is not a saved model")
    try:
        description = json.loads(file.read_bytes(), parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    found = (description.get("format"), description.get("format_version")) if isinstance(description, dict) else None
    if found != (FORMAT, FORMAT_VERSION):
        raise ValueError(
            f"{file} has (format, version) {found}; this version reads {(FORMAT, FORMAT_VERSION)}: "
            "train the model again with it"
        )
    if description.get("estimator") != estimator:
        name = description.get("estimator")
        raise ValueError(f"{file} is a saved {name}, not a {estimator}: load it by {name}.load")
    return dict(description)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"it holds {constant}, which is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def set_attributes(estimator: Any, description: Mapping[str, Any]) -> None:
    """Give an estimator what its description says it learned; ValueError, TypeError, KeyError where that cannot be."""
    n_times, n_channels = (_whole(description, name, 1) for name in ("n_times", "n_channels"))
    n_clusters = estimator.n_clusters
    scaler = description["scaler"]
    low, high = (_array(scaler[name], name, np.float64, (n_channels,)) for name in ("minimum", "maximum"))
    if (low > high).any():
        raise ValueError(f"the scaler's minimum {low.tolist()} is above its maximum {high.tolist()}")
    estimator.scaler_ = ChannelScaler(tuple(low.tolist()), tuple(high.tolist()))
    estimator.n_times_ = estimator.n_features_in_ = n_times
    estimator.n_channels_, estimator.n_iter_ = n_channels, _whole(description, "n_iter", 0)
    if names := description["feature_names"]:
        if not (isinstance(names, list) and len(names) == n_times and all(isinstance(name, str) for name in names)):
            raise ValueError(f"feature_names must be {n_times} strings")
        estimator.feature_names_in_ = np.array(names, object)
    shape = (n_clusters, n_times, n_channels)
    estimator.cluster_profiles_ = _array(description["cluster_profiles"], "cluster_profiles", np.float32, shape)
    estimator.cluster_peaks_ = _array(description["cluster_peaks"], "cluster_peaks", np.int64, (n_clusters,))
    if ((estimator.cluster_peaks_ < 0) | (estimator.cluster_peaks_ >= n_times)).any():
        raise ValueError(f"cluster_peaks {estimator.cluster_peaks_.tolist()} are not among {n_times} dates")
    history, kinds = description["history"], {"pretraining": dict, "updates": list, "events": list}
    if not isinstance(history, dict) or any(not isinstance(history.get(name), kind) for name, kind in kinds.items()):
        raise ValueError("history must hold pretraining, updates and events")
    if not all(isinstance(entry, dict) for name in ("updates", "events") for entry in history[name]):
        raise ValueError("updates and events of the history must be JSON objects")
    if not isinstance(description["snapshots"], bool):
        raise ValueError(f"snapshots is {description['snapshots']!r}; it must be true or false")
    estimator.history_ = history
    estimator.about_ = description["about"]
    if not isinstance(estimator.about_, dict):
        raise ValueError("about must be a JSON object")


def _whole(description: Mapping[str, Any], name: str, least: int) -> int:
    value = description[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return value


def _array(value: Any, name: str, dtype: type, shape: tuple[int, ...]) -> Any:
    """Nested lists of JSON as an array; ValueError where they are no finite numbers of this shape."""
    found = np.asarray(value)
    if found.shape != shape or found.dtype.kind not in ("i" if dtype is np.int64 else "if"):
        raise ValueError(f"{name} has shape {found.shape} and type {found.dtype}; it must be numbers of shape {shape}")
    with np.errstate(over="ignore"):  # what is beyond the type becomes infinite and is refused
        array: NDArray[Any] = found.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are too large")
    return array


def check_expected(file: Path, description: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
    """ValueError that names every item of `expect` which the description does not have as expected."""
    found = {"n_times": description["n_times"], "n_channels": description["n_channels"], **description["about"]}
    wanted = _as_json(expect, "expect")
    differences = [
        f"{name} is {found[name]!r}, expected {value!r}" if name in found else f"{name} is not said, expected {value!r}"
        for name, value in wanted.items()
        if name not in found or found[name] != value
    ]
    if differences:
        raise ValueError(
            f"{file} does not fit: {'; '.join(differences)}. Use a model trained on such data, or train one."
        )


WEIGHTS, DESCRIPTION, SNAPSHOTS = "weights.safetensors", "model.json", "snapshots.safetensors"

Estimator = TypeVar("Estimator")


def write(estimator: Any, path: Path, about: Mapping[str, Any]) -> None:
    """Write the directory beside its place, then rename it there; whatever else lies at `path` is refused."""
    if path.exists() and not (path / DESCRIPTION).is_file() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} exists and is not a saved model; choose another path")
    text = describe(estimator, about)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in estimator.model_.state_dict().items()}
    save_file(weights, partial / WEIGHTS)
    if snapshots := estimator.history_.get("snapshots"):
        save_arrays({name: np.ascontiguousarray(array) for name, array in snapshots.items()}, partial / SNAPSHOTS)
    (partial / DESCRIPTION).write_text(text, encoding="utf-8")
    replaced = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    if path.exists():
        path.rename(replaced)
    partial.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)


def read(cls: type[Estimator], path: Path, device: str, expect: Mapping[str, Any]) -> Estimator:
    """The estimator saved at `path`, on `device`; ValueError says what is missing, damaged or differs from `expect`."""
    file = path / DESCRIPTION
    description = read_description(file, cls.__name__)
    try:
        estimator = cls(**description["parameters"], device=device)
        check_parameters(estimator.get_params())
        set_attributes(estimator, description)
        parameters = estimator._training_parameters()
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"{file} is not a complete model description: {what}") from error
    check_expected(file, description, expect)
    target = choose_device(device)
    weights = _read_weights(path / WEIGHTS)
    _check_sizes(path, parameters, estimator.n_times_ * estimator.n_channels_, weights)
    estimator.model_ = cls._new_model(parameters, estimator.n_times_, estimator.n_channels_)
    _check_weights(path / WEIGHTS, weights, estimator.model_.state_dict())
    estimator.model_.load_state_dict(weights)
    estimator.model_.to(target).eval()
    if description["snapshots"]:
        shape = (estimator.n_times_, estimator.n_channels_, estimator.model_.centres.shape[1])
        estimator.history_["snapshots"] = _read_snapshots(path / SNAPSHOTS, *shape)
    return estimator


def _read_weights(file: Path) -> dict[str, Tensor]:
    weights = _read_tensors(file)
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{file}: tensor {name!r} holds numbers that are not finite")
    return weights


def _read_tensors(file: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return tensors


def _check_sizes(path: Path, parameters: Mapping[str, Any], n_inputs: int, weights: Mapping[str, Tensor]) -> None:
    """Refuse sizes far beyond the weights before networks of that size are built: they need not fit into memory."""
    held = sum(tensor.numel() for tensor in weights.values())
    needed = {"n_clusters": parameters["n_clusters"], "n_times * n_channels": n_inputs}
    for name in ("hidden_size", "embedding_size", "latent_size"):
        needed[name] = parameters.get(name, 1)
    for name, size in needed.items():
        # A recurrent layer has the square of its size in weights, all others at least their size.
        square = name == "latent_size" or (name == "hidden_size" and parameters.get("filling") != "mean")
        if (size**2 if square else size) > held:
            raise ValueError(f"{path / DESCRIPTION} has {name} {size}; {path / WEIGHTS} holds {held} numbers in all")


def _check_weights(file: Path, weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, wanted in expected.items():
        if name not in weights:
            raise ValueError(f"{file} lacks the tensor {name!r}")
        found = weights[name]
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(
                f"{file}: tensor {name!r} is {found.dtype} {tuple(found.shape)}; "
                f"model.json asks for {wanted.dtype} {tuple(wanted.shape)}"
            )
    if extra := sorted(set(weights) - set(expected)):
        raise ValueError(f"{file} has tensors that model.json does not ask for: {', '.join(extra)}")


def _read_snapshots(file: Path, n_times: int, n_channels: int, embedding_size: int) -> dict[str, Any]:
    tensors = _read_tensors(file)
    found = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    sizes = {name: tensor.numel() for name, tensor in tensors.items()}
    n_updates, n_rows, n_curves = (sizes.get(name, 0) for name in ("iterations", "rows", "curve_rows"))
    expected = {
        "iterations": (torch.int64, (n_updates,)),
        "rows": (torch.int64, (n_rows,)),
        "embedding": (torch.float32, (n_updates, n_rows, embedding_size)),
        "curve_rows": (torch.int64, (n_curves,)),
        "curves": (torch.float32, (n_updates, n_curves, n_times, n_channels)),
    }
    if set(found) != set(expected):
        raise ValueError(f"{file} holds {', '.join(sorted(found)) or 'nothing'}; expected {', '.join(expected)}")
    for name, (dtype, shape) in expected.items():
        if found[name] != (dtype, shape):
            raise ValueError(f"{file}: {name!r} is {found[name][0]} {found[name][1]}; expected {dtype} {shape}")
    return {name: tensor.numpy() for name, tensor in tensors.items()}
