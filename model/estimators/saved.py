"""Trained estimators on disk: weights and snapshots in safetensors, all else in model.json; no pickle anywhere."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.estimators.description import Learned, check_expected, describe, learned_from, read_description
from model.networks.series_model import SeriesModel
from model.parameters import check_parameters, choose_device
from model.series import ChannelScaler, FloatArray
from model.training.history import History, SnapshotHistory

WEIGHTS, DESCRIPTION, SNAPSHOTS = "weights.safetensors", "model.json", "snapshots.safetensors"


class Saved:
    """Mixin of an estimator that can be saved and loaded; it states what it needs of the estimator."""

    n_clusters: int
    model_: SeriesModel
    scaler_: ChannelScaler
    n_times_: int
    n_channels_: int
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    cluster_peaks_: NDArray[np.int64]
    cluster_profiles_: FloatArray
    history_: History
    about_: dict[str, Any]

    @classmethod
    def untrained(cls, parameters: Mapping[str, object], device: str) -> Self:
        """Return an estimator with these parameters of the constructor on this device."""
        raise NotImplementedError

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters."""
        raise NotImplementedError

    def training_parameters(self) -> Mapping[str, Any]:
        """Return every parameter of the training: the constructor's, and those that the method fixes."""
        raise NotImplementedError

    def new_model(self, n_times: int, n_channels: int) -> SeriesModel:
        """Return the untrained networks of this estimator for series of these sizes."""
        raise NotImplementedError

    def _check_fitted(self) -> None:
        """Raise NotFittedError where the estimator has not been trained."""
        raise NotImplementedError

    # ---- writing

    def save(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Write the directory `path`: weights.safetensors, model.json and, where there are any, snapshots.safetensors.

        An earlier model there is replaced. `about` is what the caller wants to find again as `about_`, anything that
        JSON holds; None keeps the `about_` of this model. ValueError where it is not JSON or `path` holds other files.
        """
        self._check_fitted()
        path = Path(path)
        if path.exists() and not (path / DESCRIPTION).is_file() and not (path.is_dir() and not any(path.iterdir())):
            raise ValueError(f"{path} exists and is not a saved model; choose another path")
        learned = self._learned(self.about_ if about is None else about)
        text = describe(type(self).__name__, self.get_params(), learned)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.model_.state_dict().items()}
        save_file(weights, partial / WEIGHTS)
        if snapshots := self.history_.get("snapshots"):
            arrays = {name: np.ascontiguousarray(array) for name, array in snapshots.items()}
            save_arrays(arrays, partial / SNAPSHOTS)
        (partial / DESCRIPTION).write_text(text, encoding="utf-8")
        replaced = path.with_name(f".{path.name}.{os.getpid()}.replaced")
        if path.exists():
            path.rename(replaced)
        partial.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)

    def _learned(self, about: Mapping[str, Any]) -> Learned:
        return Learned(
            self.scaler_,
            self.n_times_,
            self.n_channels_,
            self.n_iter_,
            self.feature_names_in_.tolist() if hasattr(self, "feature_names_in_") else [],
            self.cluster_peaks_,
            self.cluster_profiles_,
            self.history_,
            dict(about),
        )

    # ---- reading

    @classmethod
    def load(cls, path: str | Path, device: str = "auto", expect: Mapping[str, Any] | None = None) -> Self:
        """Read what `save` wrote; no code is run.

        `expect`: items that have to agree with n_times, n_channels and the items of `about`. ValueError says what is
        missing, damaged or differs.
        """
        path = Path(path)
        file = path / DESCRIPTION
        description = read_description(file, cls.__name__)
        try:
            estimator = cls.untrained(description["parameters"], device)
            check_parameters(estimator.get_params())
            learned = learned_from(description, estimator.n_clusters)
            parameters = estimator.training_parameters()
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{file} is not a complete model description: {what}") from error
        check_expected(file, learned, expect or {})
        target = choose_device(device)
        estimator._set_learned(learned)  # noqa: SLF001 - of the same class
        weights = _read_weights(path / WEIGHTS)
        _check_sizes(path, parameters, learned.n_times * learned.n_channels, weights)
        estimator.model_ = estimator.new_model(learned.n_times, learned.n_channels)
        _check_weights(path / WEIGHTS, weights, estimator.model_.state_dict())
        estimator.model_.load_state_dict(weights)
        estimator.model_.to(target).eval()
        if description["snapshots"]:
            shape = (learned.n_times, learned.n_channels, estimator.model_.centres.shape[1])
            estimator.history_["snapshots"] = _read_snapshots(path / SNAPSHOTS, *shape)
        return estimator

    def _set_learned(self, learned: Learned) -> None:
        self.scaler_, self.n_iter_ = learned.scaler, learned.n_iter
        self.n_times_ = self.n_features_in_ = learned.n_times
        self.n_channels_ = learned.n_channels
        if learned.feature_names:
            self.feature_names_in_ = np.array(learned.feature_names, object)
        self.cluster_profiles_, self.cluster_peaks_ = learned.cluster_profiles, learned.cluster_peaks
        self.history_, self.about_ = learned.history, learned.about


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
    stored = sum(tensor.numel() for tensor in weights.values())
    needed = {"n_clusters": parameters["n_clusters"], "n_times * n_channels": n_inputs}
    for name in ("hidden_size", "embedding_size", "latent_size"):
        needed[name] = parameters.get(name, 1)
    for name, size in needed.items():
        # A recurrent layer has the square of its size in weights, all others at least their size.
        square = name == "latent_size" or (name == "hidden_size" and parameters.get("filling") != "mean")
        if (size**2 if square else size) > stored:
            raise ValueError(f"{path / DESCRIPTION} has {name} {size}; {path / WEIGHTS} holds {stored} numbers in all")


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


def _read_snapshots(file: Path, n_times: int, n_channels: int, embedding_size: int) -> SnapshotHistory:
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
    return {
        "iterations": tensors["iterations"].numpy(),
        "rows": tensors["rows"].numpy(),
        "embedding": tensors["embedding"].numpy(),
        "curve_rows": tensors["curve_rows"].numpy(),
        "curves": tensors["curves"].numpy(),
    }
