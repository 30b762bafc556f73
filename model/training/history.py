"""What training tells of itself, as records in the order of time."""

from typing import Any


def history_lines(history: dict[str, Any]) -> list[dict[str, Any]]:
    """One flat record each for pre-training epochs, target updates and events; later training only adds at the end.

    `history` is that of an estimator: "pretraining", "updates" and "events". An update that made training return to
    an earlier state, or end, stands after the event that says so.
    """
    losses = history["pretraining"]["losses"]
    lines = [{"phase": "pretrain", "epoch": epoch, "loss": loss} for epoch, loss in enumerate(losses, 1)]
    events = [{"phase": "event", **event} for event in history["events"]]
    lines += [event for event in events if "iteration" not in event]  # of pre-training and of the first centres
    joint = [event for event in events if "iteration" in event]
    joint += [{"phase": "joint", **update} for update in history["updates"]]
    return lines + sorted(joint, key=lambda line: line["iteration"])  # stable: events first
