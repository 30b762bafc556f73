"""What training records: pre-training, target updates and events, and their order in time."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from model.series import FloatArray


class PretrainingRecord(TypedDict):
    """What preceded joint training; without pre-training there are no losses, and nothing else."""

    losses: list[float]  # of every epoch, or the means of several iterations
    learning_rate: NotRequired[float]  # of the last restart
    mean_loss: NotRequired[float]  # of predicting the mean


class UpdateRecord(TypedDict):
    """One target update of Algorithm 1; CRLI, which has no target, records iteration and losses alone."""

    iteration: int
    losses: dict[str, float | None]  # means over the iterations since the record before; None where there were none
    prediction_loss: NotRequired[float]  # L_pre over the training set (Eq 4)
    label_change: NotRequired[float | None]  # share of the labels that changed since the update before
    cluster_sizes: NotRequired[list[int]]  # series of every cluster
    centre_distance: NotRequired[float]  # smallest distance between two centres


class EventRecord(TypedDict):
    """One restart, return to an earlier state, early stop or replacement of centres; keys depend on the event."""

    event: str
    iteration: NotRequired[int]
    epoch: NotRequired[int]
    learning_rate: NotRequired[float]  # after the event
    loss: NotRequired[float | None]  # None where it was not finite
    mean_loss: NotRequired[float]
    prediction_loss: NotRequired[float | None]
    best_prediction_loss: NotRequired[float]
    label_change: NotRequired[float | None]
    tol: NotRequired[float]
    distance: NotRequired[float]


class SnapshotHistory(TypedDict):
    """Embedding z and estimates X_hat of some series at S target updates."""

    iterations: NDArray[np.int64]  # (S,)
    rows: NDArray[np.int64]  # (W,) row numbers of the series
    embedding: FloatArray  # (S, W, E)
    curve_rows: NDArray[np.int64]  # (V,)
    curves: FloatArray  # (S, V, T, C)


class Beginning(TypedDict):
    """What happened before joint training."""

    pretraining: PretrainingRecord
    events: list[EventRecord]


class History(TypedDict):
    """All records of one training."""

    pretraining: PretrainingRecord
    updates: list[UpdateRecord]
    events: list[EventRecord]
    snapshots: NotRequired[SnapshotHistory]


def no_beginning() -> Beginning:
    """Return the records of a training that nothing preceded."""
    return {"pretraining": {"losses": []}, "events": []}


def history_lines(history: History) -> list[dict[str, object]]:
    """Return one flat record for each pre-training epoch, target update and event, in the order of time.

    Later training only adds records at the end. An update that made training return to an earlier state, or end,
    follows the event that says so.
    """
    losses = history["pretraining"]["losses"]
    lines: list[dict[str, object]] = [
        {"phase": "pretrain", "epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)
    ]
    # Events of pre-training and of the first centres have no iteration.
    lines += [_line("event", event) for event in history["events"] if "iteration" not in event]
    joint = [(event["iteration"], _line("event", event)) for event in history["events"] if "iteration" in event]
    joint += [(update["iteration"], _line("joint", update)) for update in history["updates"]]
    return lines + [line for _, line in sorted(joint, key=lambda one: one[0])]  # a stable order: events first


def _line(phase: str, record: Mapping[str, object]) -> dict[str, object]:
    return {"phase": phase, **record}
