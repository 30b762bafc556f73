"""The result of a stage, and the loop over its shards."""

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
    """The result of a stage: whether it had anything to do, its outputs, and facts for the summary."""

    stage: Stage
    fresh: bool  # False: all of it existed with the same fingerprint, nothing was done
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

    The accounts of the tasks go to `accounting.collect`.

    Args:
        executor: where the work is done.
        work: called with each of `shards`.
        shards: or groups of shards, one group a task.
        stage: name of the tasks.
        reporter: shows progress.
        pixels: the number that the tasks will count in all, if known: progress is then measured by it.
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
    """Return whether all other shards would fail too: the disk is full, or another run has taken over."""
    return isinstance(error, Superseded) or (isinstance(error, OSError) and error.errno in _FULL)


def _accounted(work: Callable[[Work], Result], retries: int, item: Work) -> tuple[Result, Account]:
    """Do one task and return its account, too; where input or output fails for the moment it is tried again."""

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
    if failure is not None:  # raised here: within the handler it would be its own context, and could not be pickled
        raise failure
    return result, account
