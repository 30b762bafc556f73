"""What every stage hands back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class StageResult:
    """The end of a stage: whether it had anything to do, what lies where, and figures for the summary."""

    stage: str
    fresh: bool  # False: all was there already with the same fingerprint, nothing was done
    outputs: tuple[Path, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-able
