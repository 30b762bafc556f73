"""What model.json says of a trained estimator besides its weights, and that it is true."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from model.options import plain_parameters
from model.series import ChannelScaler

if TYPE_CHECKING:
    from model.base import SeriesClustering

FORMAT = "sitscube clustering"
FORMAT_VERSION = 2


def describe(estimator: "SeriesClustering", about: Mapping[str, Any]) -> str:
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


def set_attributes(estimator: "SeriesClustering", description: Mapping[str, Any]) -> None:
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
