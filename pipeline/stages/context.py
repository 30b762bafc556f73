"""What every part of a stage needs to know of the run that it belongs to."""

from dataclasses import dataclass, field
from typing import Self

from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.runtime.executor import Executor, InProcess


@dataclass(frozen=True)
class Run:
    """A run: its configuration, where its tasks are done, and where its progress goes."""

    config: Config
    executor: Executor = field(default_factory=InProcess)
    reporter: Reporter = field(default_factory=Silent)

    @classmethod
    def of(cls, config: Config, executor: Executor | None, reporter: Reporter | None) -> Self:
        """Return the run of a stage; without an executor in this process, without a reporter in silence."""
        return cls(config, executor or InProcess(), reporter or Silent())
