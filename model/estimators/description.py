"""The file model.json: what a trained estimator has learned besides its weights, written, read and checked."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.parameters import plain_parameters
from model.series import ChannelScaler, FloatArray
from model.training.history import History

FORMAT = "sitscube clustering"
FORMAT_VERSION = 2

JSONObject: TypeAlias = dict[str, Any]  # as `json` reads it


@dataclass(frozen=True)
class Learned:
    """What an estimator has learned besides the weights of its networks, the arrays of its snapshots included."""

    scaler: ChannelScaler
    n_times: int
    n_channels: int
    n_iter: int
    feature_names: list[str]  # empty where the data had none
    cluster_peaks: NDArray[np.int64]  # (K,)
    cluster_profiles: FloatArray  # (K, T, C)
    history: History
    about: JSONObject


def describe(estimator: str, parameters: Mapping[str, object], learned: Learned) -> str:
    """Return the text of model.json for an estimator of this class name; ValueError where `about` is not JSON."""
    kept = {name: value for name, value in parameters.items() if name != "device"}
    if isinstance(kept["random_state"], np.random.RandomState):
        kept["random_state"] = None  # the generator has moved on: it could not train this model again
    history = learned.history
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "estimator": estimator,
        "parameters": plain_parameters(kept),
        "scaler": {"minimum": learned.scaler.minimum, "maximum": learned.scaler.maximum},
        "n_times": learned.n_times,
        "n_channels": learned.n_channels,
        "n_iter": learned.n_iter,
        "feature_names": learned.feature_names,
        "cluster_peaks": learned.cluster_peaks.tolist(),
        "cluster_profiles": learned.cluster_profiles.tolist(),
        "history": {name: value for name, value in history.items() if name != "snapshots"},
        "snapshots": bool(history.get("snapshots")),
        "about": _as_json(learned.about, "about"),
    }
    return json.dumps(description, sort_keys=True, indent=1, allow_nan=False) + "\n"


def _as_json(items: Mapping[str, object], name: str) -> JSONObject:
    """Return the items as they come back from a file: tuples as lists. ValueError where JSON cannot hold them."""
    try:
        found = json.loads(json.dumps(dict(items), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must hold nothing but what JSON does: {error}") from error
    return dict(found)


def read_description(file: Path, estimator: str) -> JSONObject:
    """Read a model.json that an estimator of this class name has written; ValueError says what it is instead."""
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


def learned_from(description: JSONObject, n_clusters: int) -> Learned:
    """Return what the description says was learned; ValueError, TypeError or KeyError where it cannot be true."""
    n_times, n_channels = (_whole(description, name, 1) for name in ("n_times", "n_channels"))
    scaler = description["scaler"]
    low, high = (_array(scaler[name], name, np.float64, (n_channels,)) for name in ("minimum", "maximum"))
    if (low > high).any():
        raise ValueError(f"the scaler's minimum {low.tolist()} is above its maximum {high.tolist()}")
    n_iter = _whole(description, "n_iter", 0)
    names = description["feature_names"] or []
    if names and not _are_strings(names, n_times):
        raise ValueError(f"feature_names must be {n_times} strings")
    profiles = _array(
        description["cluster_profiles"], "cluster_profiles", np.float32, (n_clusters, n_times, n_channels)
    )
    peaks = _array(description["cluster_peaks"], "cluster_peaks", np.int64, (n_clusters,))
    if ((peaks < 0) | (peaks >= n_times)).any():
        raise ValueError(f"cluster_peaks {peaks.tolist()} are not among {n_times} dates")
    _check_history(description["history"])
    if not isinstance(description["snapshots"], bool):
        raise ValueError(f"snapshots is {description['snapshots']!r}; it must be true or false")
    if not isinstance(description["about"], dict):
        raise ValueError("about must be a JSON object")
    return Learned(
        ChannelScaler(tuple(low.tolist()), tuple(high.tolist())),
        n_times,
        n_channels,
        n_iter,
        names,
        peaks,
        profiles,
        description["history"],
        description["about"],
    )


def _are_strings(names: object, number: int) -> bool:
    return isinstance(names, list) and len(names) == number and all(isinstance(name, str) for name in names)


def _check_history(history: object) -> None:
    kinds = {"pretraining": dict, "updates": list, "events": list}
    if not isinstance(history, dict) or any(not isinstance(history.get(name), kind) for name, kind in kinds.items()):
        raise ValueError("history must hold pretraining, updates and events")
    if not all(isinstance(entry, dict) for name in ("updates", "events") for entry in history[name]):
        raise ValueError("updates and events of the history must be JSON objects")


def _whole(description: JSONObject, name: str, least: int) -> int:
    value = description[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    return value


def _array(value: object, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return nested lists of JSON as an array; ValueError where they are no finite numbers of this shape."""
    found = np.asarray(value)
    if found.shape != shape or found.dtype.kind not in ("i" if dtype is np.int64 else "if"):
        raise ValueError(f"{name} has shape {found.shape} and type {found.dtype}; it must be numbers of shape {shape}")
    with np.errstate(over="ignore"):  # what is beyond the type becomes infinite and is refused
        array: NDArray[Any] = found.astype(dtype)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds numbers that are too large")
    return array


def check_expected(file: Path, learned: Learned, expect: Mapping[str, object]) -> None:
    """Compare n_times, n_channels and `about` with the items of `expect`; ValueError names every one that differs."""
    found = {"n_times": learned.n_times, "n_channels": learned.n_channels, **learned.about}
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
