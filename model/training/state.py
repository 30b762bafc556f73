"""States of training: networks and optimisers as flat dictionaries of tensors, and the folder that keeps them."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from model.training.history import Beginning, EventRecord, History, UpdateRecord, history_lines

FORMAT = "sitscube training state"
FORMAT_VERSION = 1  # raised whenever the layout changes, or training would go on differently from the same state
TENSORS, NUMBERS, HISTORY = "tensors.safetensors", "state.json", "history.jsonl"
FREE = ("device", "n_iter")  # parameters that may be others when training goes on
_PREFIX = "state-"

Tensors = dict[str, Tensor]


class StateNumbers(TypedDict):
    """How far a training is, and its history, as JSON takes them; CRLI lacks those that may be missing."""

    n_iter: int
    returns: NotRequired[int]  # to earlier states
    best_prediction_loss: NotRequired[float]
    cluster_sizes: NotRequired[list[float]]  # f_j
    before: Beginning
    updates: list[UpdateRecord]
    events: list[EventRecord]


class State(NamedTuple):
    """All of a training at a target update that does not follow from its data and options."""

    tensors: Tensors  # weights, moments, random numbers, the best state, snapshots
    numbers: StateNumbers


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors under names that begin with the prefix and a dot."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Tensors) -> Tensors:
    """Return the tensors whose names begin with the prefix and a dot, under names without both."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def read_state(model: nn.Module, optimisers: dict[str, torch.optim.Optimizer]) -> Tensors:
    """Copy all weights and the moments of the optimisers; learning rates are left to the caller."""
    found = prefixed("model", model.state_dict())
    for name, optimiser in optimisers.items():
        for parameter, moments in optimiser.state_dict()["state"].items():
            found |= prefixed(f"{name}.{parameter}", {k: v for k, v in moments.items() if v is not None})
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def write_state(tensors: Tensors, model: nn.Module, optimisers: dict[str, torch.optim.Optimizer]) -> None:
    """Set weights and moments to what `read_state` returned; moments that it did not find start again."""
    model.load_state_dict(below("model", tensors))
    for name, optimiser in optimisers.items():
        state: dict[int, Tensors] = {}
        for key, tensor in below(name, tensors).items():
            parameter, _, moment = key.partition(".")
            state.setdefault(int(parameter), {})[moment] = tensor.clone()
        optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def describe(x: Tensor, m: Tensor, parameters: Mapping[str, object], *, population: bool) -> dict[str, object]:
    """Return what a training depends on: data x, m (n, T, C), parameters, and whether it has a population."""
    digest = hashlib.sha256()
    for part in (x, m):
        digest.update(part.detach().cpu().contiguous().numpy().data)
    n_series, n_times, n_channels = x.shape
    return {
        "n_series": n_series,
        "n_times": n_times,
        "n_channels": n_channels,
        "data": digest.hexdigest(),
        "population": population,
        **{f"parameter {name}": _plain(value) for name, value in parameters.items() if name not in FREE},
    }


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


class TrainingFolder:
    """Folder of the states of one training, which `describe` describes; ValueError where it is a file."""

    def __init__(self, folder: Path, training: Mapping[str, object]) -> None:
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is no folder: give another checkpoint folder")
        self._folder, self._training = folder, dict(training)
        self._n_lines: int | None = None  # of history.jsonl, once this process has written it

    def read(self, n_iter: int) -> State | None:
        """Read the last state; None where there is none.

        ValueError where it is damaged, belongs to a training with other data or parameters, or is beyond n_iter.
        """
        found = self._states()
        if not found:
            return None
        folder = self._folder / found[-1]
        description = _read_json(folder / NUMBERS)
        version = (description.get("format"), description.get("format_version"))
        if version != (FORMAT, FORMAT_VERSION):
            raise ValueError(
                f"{folder / NUMBERS} has (format, version) {version}; this version reads {(FORMAT, FORMAT_VERSION)}: "
                f"remove {self._folder} to train anew"
            )
        try:
            self._check(description["training"])
            numbers, digest = description["numbers"], description["tensors_sha256"]
            if numbers["n_iter"] > n_iter:
                raise ValueError(
                    f"{self._folder} holds a training at iteration {numbers['n_iter']}, beyond n_iter={n_iter}: raise "
                    "n_iter, or remove the folder to train anew"
                )
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder / NUMBERS} is damaged: {error!r}; {self._way_out}") from error
        return State(_read_tensors(folder / TENSORS, digest, self._way_out), numbers)

    def write(self, state: State) -> None:
        """Write a state in the place of the one before, and add new records to the history."""
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / f"{_PREFIX}{state.numbers['n_iter']:09d}"
        before = self._states()
        beside = self._folder / f".{place.name}.partial"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        tensors = save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.tensors.items()})
        description = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "training": self._training,
            "tensors_sha256": hashlib.sha256(tensors).hexdigest(),
            "numbers": state.numbers,
        }
        write_through(beside / TENSORS, tensors)
        write_through(beside / NUMBERS, json.dumps(description, indent=1, allow_nan=False).encode())
        beside.rename(place)
        for name in before:
            shutil.rmtree(self._folder / name)
        self._write_history(state.numbers)

    def _states(self) -> list[str]:
        """List the states, the last one last; a kill may have left the one before it, or half of that."""
        found = self._folder.glob(f"{_PREFIX}*") if self._folder.is_dir() else ()
        return sorted(path.name for path in found)

    def _check(self, found: Mapping[str, object]) -> None:
        wanted = json.loads(json.dumps(self._training))
        # Data last: what else differs may be the reason.
        names = sorted({*found, *wanted}, key=lambda name: (name == "data", name))
        differing = [name for name in names if found.get(name) != wanted.get(name)]
        if differing:
            listed = ", ".join(f"{name} was {found.get(name)!r}, now {wanted.get(name)!r}" for name in differing)
            raise ValueError(f"{self._folder} holds the state of another training: {listed}; {self._way_out}")

    @property
    def _way_out(self) -> str:
        return f"remove {self._folder} to train anew, or give another checkpoint folder"

    def _write_history(self, numbers: StateNumbers) -> None:
        events = [*numbers["before"]["events"], *numbers["events"]]
        history: History = {
            "pretraining": numbers["before"]["pretraining"],
            "updates": numbers["updates"],
            "events": events,
        }
        lines = [json.dumps(line) + "\n" for line in history_lines(history)]
        file = self._folder / HISTORY
        if self._n_lines is None:  # whatever a killed training left there, perhaps half a line
            beside = file.with_name(f".{HISTORY}.partial")
            beside.write_text("".join(lines), encoding="utf-8")
            beside.replace(file)
        else:
            with file.open("a", encoding="utf-8") as stream:
                stream.write("".join(lines[self._n_lines :]))
        self._n_lines = len(lines)


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error}; remove {file.parent.parent} to train anew") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} is damaged: it holds no JSON object; remove {file.parent.parent} to train anew")
    return content


def _read_tensors(file: Path, sha256: str, way_out: str) -> dict[str, Tensor]:
    try:
        content = file.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its content is not what was written")
        return load(content)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{file} is damaged: {error}; {way_out}") from error


def write_through(file: Path, content: bytes) -> None:
    """Write a file down to the disk: a name must not outlive a failing machine when its content does not."""
    with file.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
