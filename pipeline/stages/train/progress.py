"""The progress of training as one bar."""

from typing import Final

from pipeline.base.progress import Reporter, Silent, Task
from pipeline.runtime.executor import Event

_SHOWN: Final = {"pretrain": ("mse", "pre"), "joint": ("rec", "pre", "clu")}  # losses that fit beside a bar


class TrainingBar:
    """Turns an estimator's progress events, which count from the start of their phase, into steps of one bar.

    A training that goes on where another was stopped is said to, and its bar goes on there.
    """

    def __init__(self, task: Task, reporter: Reporter | None = None, pretraining_steps: int = 0) -> None:
        self._task, self._reporter, self._before = task, reporter or Silent(), pretraining_steps
        self._done: dict[str, int] = {}  # steps of every phase

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if "message" in event:
            self._reporter.message(event["message"])
            return
        phase, step, losses = event["phase"], event["step"], event["losses"]
        if event.get("resumed"):
            self._reporter.message(f"training goes on at iteration {step}")
            self._advance("pretrain", self._before, "")
        shown = [f"{name} {_brief(losses[name])}" for name in _SHOWN.get(phase, tuple(losses)) if name in losses]
        self._advance(phase, step, " ".join(shown if phase == "joint" else [f"{phase}:", *shown]))

    def _advance(self, phase: str, step: int, note: str) -> None:
        before = self._done.get(phase, 0)
        self._done[phase] = max(before, step)
        self._task.advance(max(0, step - before), note=note)  # pre-training may start again


def _brief(value: float) -> str:
    """A number in at most four characters, beside a sign: .12, 3.4, 56, 780, 7e-5."""
    if value == 0:
        return "0"
    if 10 <= abs(value) < 1000:
        return f"{value:.0f}"
    if 0.01 <= abs(value) < 10:
        return f"{value:.2g}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2g}"
    return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
