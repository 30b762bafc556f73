"""What a training reports while it goes on."""

from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

from torch import Tensor

REPORT_EVERY = 10  # iterations between two reports


class TrainingReport(TypedDict):
    """What `progress` of `fit` is called with."""

    phase: str  # "pretrain" or "joint"
    step: int  # epochs or iterations of the phase that are done, from 1
    total: int  # of the phase
    losses: dict[str, float]  # by name; empty where a loss was not finite
    resumed: NotRequired[bool]  # true in the first report of a training that goes on from a state on disk


Progress = Callable[[TrainingReport], None]


def report_iteration(
    progress: Progress, iteration: int, n_iter: int, names: Sequence[str], losses: Tensor | None
) -> None:
    """Report the losses of every REPORT_EVERYth iteration and of the last one; None where one was not finite."""
    if iteration % REPORT_EVERY == 0 or iteration == n_iter:
        shown = {} if losses is None else dict(zip(names, losses.tolist(), strict=True))
        progress({"phase": "joint", "step": iteration, "total": n_iter, "losses": shown})
