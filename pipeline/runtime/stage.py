"""What every stage hands back, and how it works through its shards."""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from pipeline.base import accounting, locks
from pipeline.base.accounting import Account
from pipeline.base.errors import ShardsFailed, Superseded
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.retry import Transient, patiently
from pipeline.base.stage_names import Stage
from pipeline.runtime.executor import Executor

Result = TypeVar("Result")
Work = TypeVar("Work")  # a shard, or several that are worked on together
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # no shard can be written any more
_LASTING: Final = _FULL | {
    errno.EFBIG, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
}  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageResult:
    """The end of a stage: whether it had anything to do, what lies where, and figures for the summary."""

    stage: Stage
    fresh: bool  # False: all was there already with the same fingerprint, nothing was done
    outputs: tuple[Location, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)  # JSON-able


def run_shards(
    executor: Executor,
    work: Callable[[Work], Result],
    shards: Sequence[Work],
    stage: str,
    reporter: Reporter,
    *,
    pixels: int | None = None,
    gpu: bool = False,
) -> Iterator[Result]:
    """Yield the result of every shard as it is ready; a shard that fails stops no other, unless too many do.

    What the tasks took is handed to `accounting.collect`.

    Args:
        executor: where they are worked on.
        work: called with each of `shards`.
        shards: or groups of shards, each worked on in one task.
        stage: name of the tasks.
        reporter: where progress goes.
        pixels: that the tasks will count in all, where that is known: progress is then measured by them.
        gpu: whether the work belongs on a GPU where there is one.

    Raises:
        ShardsFailed: at the end, or where too many have failed, naming the shards that raised and why.
    """
    failures: dict[str, str] = {}
    first: Exception | None = None
    task_work = partial(_accounted, work, executor.limits.retries)
    ended = 0
    with (
        closing(executor.run(task_work, shards, name=stage, gpu=gpu)) as outcomes,
        reporter.track(stage, len(shards), pixels) as task,
    ):
        for outcome in outcomes:
            locks.check()
            ended += 1
            if outcome.result is not None:
                result, account = outcome.result
                accounting.collect(account)
                task.advance(note=str(outcome.item), pixels=account.pixels)
                yield result
                continue
            task.advance(note=f"{outcome.item} failed")
            first = first or outcome.error
            failures[str(outcome.item)] = f"{type(outcome.error).__name__}: {outcome.error}"
            _log.debug("%s %s failed", stage, outcome.item, exc_info=outcome.error)
            if _hopeless(outcome.error) or len(failures) > executor.limits.max_failures:
                break
    if failures:
        raise ShardsFailed(stage, failures, not_tried=len(shards) - ended) from first


def _hopeless(error: Exception | None) -> bool:
    """Whether no other shard can fare better: the disk is full, or another run has taken over."""
    return isinstance(error, Superseded) or (isinstance(error, OSError) and error.errno in _FULL)


def _accounted(work: Callable[[Work], Result], retries: int, item: Work) -> tuple[Result, Account]:
    """Do one task where it belongs, and say what it took; input and output that fail for the moment are tried again."""

    def attempt() -> Result:
        try:
            return work(item)
        except OSError as error:
            if error.errno in _LASTING:
                raise
            raise Transient(str(error)) from error

    failure: BaseException | None = None
    with accounting.accounted() as account:
        account.shards = 1
        try:
            result = patiently(attempt, 1 + retries, time.sleep)
        except Transient as error:
            failure = error.__cause__
    if failure is not None:  # raised out here: as the context of its own cause it could not be sent from a worker
        raise failure
    return result, account
