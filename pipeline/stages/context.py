"""The run that a stage belongs to: what every part of the stage needs to know of it."""

from dataclasses import dataclass, field
from typing import Self

from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.runtime.executor import Executor, InProcess


@dataclass(frozen=True)
class Run:
    """A run: its configuration, the executor of its tasks, and the reporter of its progress."""

    config: Config
    executor: Executor = field(default_factory=InProcess)
    reporter: Reporter = field(default_factory=Silent)

    @classmethod
    def of(cls, config: Config, executor: Executor | None, reporter: Reporter | None) -> Self:
        """Return the run; without an executor tasks run in this process, without a reporter nothing is reported."""
        return cls(config, executor or InProcess(), reporter or Silent())
