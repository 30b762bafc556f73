"""A trained estimator as a directory of weights.safetensors, model.json and snapshots.safetensors.

Reading it runs no code, and takes nothing for granted: whatever does not fit together is refused by a ValueError that
names the file.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.description import check_expected, describe, read_description, set_attributes
from model.options import check_parameters, choose_device

if TYPE_CHECKING:
    from model.base import SeriesClustering

WEIGHTS, DESCRIPTION, SNAPSHOTS = "weights.safetensors", "model.json", "snapshots.safetensors"

Estimator = TypeVar("Estimator", bound="SeriesClustering")


def write(estimator: "SeriesClustering", path: Path, about: Mapping[str, Any]) -> None:
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
