"""What every stage hands back, and how it works through its shards."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import ShardsFailed
from pipeline.executor import Executor
from pipeline.progress import Reporter

Result = TypeVar("Result")
Work = TypeVar("Work")  # a shard, or several that are worked on together
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """The end of a stage: whether it had anything to do, what lies where, and figures for the summary."""

    stage: str
    fresh: bool  # False: all was there already with the same fingerprint, nothing was done
    outputs: tuple[Path, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-able


def run_shards(
    executor: Executor, work: Callable[[Work], Result], shards: Sequence[Work], stage: str, reporter: Reporter
) -> Iterator[Result]:
    """Yield the result of every shard as it is ready; a shard that fails stops no other.

    `shards` may also be groups of shards, each worked on in one task.

    Raises:
        ShardsFailed: at the end, naming the shards that raised and why.
    """
    failures: dict[str, str] = {}
    first: Exception | None = None
    with reporter.track(stage, len(shards)) as task:
        for outcome in executor.run(work, shards, name=stage):
            task.advance(note=str(outcome.item))
            if outcome.error is None:
                yield outcome.result  # type: ignore[misc]
                continue
            first = first or outcome.error
            failures[str(outcome.item)] = f"{type(outcome.error).__name__}: {outcome.error}"
            _log.debug("%s %s failed", stage, outcome.item, exc_info=outcome.error)
    if failures:
        raise ShardsFailed(stage, failures) from first
