"""Items on a Dask cluster, a bounded number at a time, until each has an outcome, whatever fails.

A worker is killed: Dask gives its tasks to others. An item that was on every killed worker is tried once more, alone,
so that the one that kills workers is distinguished from its neighbours. The scheduler is lost: everything under way is
submitted again as soon as it answers. A worker is slow or hangs: when nothing else is left to do, its items are given
to a second worker, and the first result counts. Run twice, an item must therefore return and write the same.
"""

import itertools
import queue
import statistics
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypedDict

from distributed import Client, Future, KilledWorker
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError

from pipeline.base.errors import OutOfReach, UserError
from pipeline.runtime.executor import Item, Limits, Outcome, Result
from pipeline.runtime.per_process import GPU

PER_THREAD: Final = 3  # items at the workers for each of their threads: one at work, the next ones waiting
TICK: Final = 1.0  # s between two requests to the scheduler
BACKUP_FACTOR: Final = 3.0  # an item is given to a second worker after so many times the median item's time ...
BACKUP_LEAST: Final = 10.0  # ... and so many seconds
GONE: Final = (OSError, CommClosedError, ClosedClientError, TimeoutError, RuntimeError)  # of a scheduler that is lost
_ANY, _GPU, _CPU = "any", "gpu", "cpu"  # lanes: all workers; those with a GPU; those without, beside the former


class Worker(TypedDict):
    """What the scheduler knows of a worker, as far as it is used here."""

    nthreads: int
    resources: dict[str, float]
    memory_limit: int


class Connection(Protocol):
    """The cluster, as far as the window needs it."""

    client: Client
    limits: Limits
    address: str
    cpu_beside_gpu: bool

    def workers(self) -> dict[str, Worker]:
        """Return the workers by address, as the scheduler describes them."""

    def processing(self) -> dict[str, str]:
        """Return the address of the worker that has each task, by the task's key."""

    def cancel(self, futures: Sequence[Future]) -> None:
        """Cancel futures."""

    def recover(self) -> None:
        """Wait until a scheduler answers again."""


@dataclass(eq=False)
class _Copy(Generic[Item]):
    """One submission of an item."""

    number: int
    item: Item
    lane: str
    future: Future
    since: float


class Window(Generic[Item, Result]):
    """The items of one call of `OnDask.run`."""

    def __init__(
        self,
        cluster: Connection,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        name: str,
        *,
        gpu: bool,
        gpu_only: bool = False,
    ) -> None:
        self._cluster, self._function, self._name = cluster, function, name
        self._gpu, self._gpu_only = gpu, gpu_only
        self._run = uuid.uuid4().hex[:8]
        self._submissions = itertools.count()
        self._waiting: Iterator[tuple[int, Item]] = iter(enumerate(items))
        self._exhausted = False
        self._again: deque[tuple[int, Item]] = deque()
        self._suspects: deque[tuple[int, Item]] = deque()  # items at which a worker was killed once too often
        self._alone: int | None = None
        self._copies: dict[int, list[_Copy[Item]]] = {}
        self._ended: queue.SimpleQueue[_Copy[Item]] = queue.SimpleQueue()
        self._times: list[float] = []
        self._workers: dict[str, Worker] = {}
        self._seen_worker = self._watched = time.monotonic()

    def outcomes(self) -> Generator[Outcome[Item, Result]]:
        """Yield the outcome of each item as it is known.

        Raises:
            OutOfReach: the scheduler, or the last worker, is gone for longer than the patience allows.
        """
        try:
            self._look()
            self._submit_next()
            while self._copies:
                try:
                    outcome = self._settle(self._ended.get(timeout=TICK))
                except queue.Empty:
                    outcome = None
                if time.monotonic() - self._watched >= TICK:
                    self._watch()
                self._submit_next()
                if outcome is not None:
                    yield outcome
        finally:
            self._cluster.cancel([copy.future for copies in self._copies.values() for copy in copies])

    # ---- submitting

    def _submit_next(self) -> None:
        """Fill every lane up to its bound; items at which workers were killed come last, one at a time."""
        if self._alone is not None:
            return
        for lane, slots in self._lanes().items():
            busy = sum(copy.lane == lane for copies in self._copies.values() for copy in copies)
            for _ in range(max(1, PER_THREAD * slots) - busy):
                following = self._next_item()
                if following is None:
                    break
                self._submit(*following, lane)
        if not self._copies and self._suspects:
            number, item = self._suspects.popleft()
            self._alone = number
            self._submit(number, item, next(iter(self._lanes())))

    def _next_item(self) -> tuple[int, Item] | None:
        if self._again:
            return self._again.popleft()
        following = next(self._waiting, None)
        self._exhausted = following is None
        return following

    def _lanes(self) -> dict[str, int]:
        """Return how many items each lane can work on at once."""
        gpus = sum(int(worker["resources"].get(GPU, 0)) for worker in self._workers.values())
        if self._gpu and (gpus or self._gpu_only):
            lanes = {_GPU: gpus}
            if self._cluster.cpu_beside_gpu and not self._gpu_only and (threads := self._threads(gpu=False)):
                lanes[_CPU] = threads
            return lanes
        return {_ANY: self._threads(gpu=False) + self._threads(gpu=True)}

    def _threads(self, *, gpu: bool) -> int:
        return sum(worker["nthreads"] for worker in self._workers.values() if bool(worker["resources"].get(GPU)) == gpu)

    def _submit(self, number: int, item: Item, lane: str, only: list[str] | None = None) -> None:
        where: dict[str, object] = {} if only is None else {"workers": only}
        if lane == _GPU:
            where["resources"] = {GPU: 1}
        elif lane == _CPU and only is None:
            # a preference only: a worker that is replaced comes back under another address
            without = [address for address, worker in self._workers.items() if not worker["resources"].get(GPU)]
            where |= {"workers": without, "allow_other_workers": True}
        key = f"{self._name}-{item}-{self._run}-{next(self._submissions)}"
        try:
            future = self._cluster.client.submit(self._function, item, key=key, pure=False, **where)
        except GONE:  # the connection broke just now
            self._again.append((number, item))
            self._resume()
            return
        copy = _Copy(number, item, lane, future, time.monotonic())
        self._copies.setdefault(number, []).append(copy)
        future.add_done_callback(lambda _: self._ended.put(copy))

    # ---- results

    def _settle(self, copy: _Copy[Item]) -> Outcome[Item, Result] | None:
        """Return the outcome of a finished copy's item; None where it has none yet."""
        copies = self._copies.get(copy.number, [])
        if copy not in copies:
            return None  # another copy was first, or the scheduler was lost after it was submitted
        try:
            status = copy.future.status
            error = copy.future.exception() if status == "error" else None
            result = copy.future.result() if status == "finished" else None
        except (CancelledError, *GONE):
            status, error, result = "lost", None, None
        if status not in ("finished", "error"):
            self._resume()
            return None
        copies.remove(copy)
        if error is not None and copies:
            return None  # the other copy may succeed
        del self._copies[copy.number]
        copy.future.release()
        self._cluster.cancel([other.future for other in copies])
        if isinstance(error, KilledWorker) and self._alone != copy.number:
            self._suspects.append((copy.number, copy.item))
            return None
        if self._alone == copy.number:
            self._alone = None
        if error is None:
            self._times.append(time.monotonic() - copy.since)
            return Outcome(copy.item, result=result)
        return Outcome(copy.item, error=_plain(error))

    # ---- failures of workers and of the scheduler

    def _look(self) -> None:
        """Ask the scheduler for its workers."""
        try:
            self._workers = self._cluster.workers()
        except GONE:
            self._resume()

    def _watch(self) -> None:
        """Check that what is under way can end.

        Raises:
            OutOfReach: no worker could do it for longer than the patience allows.
        """
        self._watched = time.monotonic()
        if self._cluster.client.status != "running":
            self._resume()
            return
        self._look()
        able = self._threads(gpu=True) if self._gpu_only else len(self._workers)
        patience = self._cluster.limits.patience
        if able:
            self._seen_worker = time.monotonic()
        elif time.monotonic() - self._seen_worker > patience:
            kind = "GPU worker" if self._gpu_only else "worker"
            raise OutOfReach(
                f"the Dask cluster {self._cluster.address} has had no {kind} for {patience:g} s: start one and run "
                "the same command again, only what is missing is done. cluster.patience says how long to wait."
            )
        if _GPU not in self._lanes():
            self._leave_gpu_lane()
        self._back_up()

    def _leave_gpu_lane(self) -> None:
        """Give the items of GPU workers to the others, where no worker with a GPU is left."""
        for number, copies in list(self._copies.items()):
            stranded = [copy for copy in copies if copy.lane == _GPU]
            if stranded:
                self._cluster.cancel([copy.future for copy in copies])
                del self._copies[number]
                self._again.append((number, stranded[0].item))

    def _back_up(self) -> None:
        """Give items that take far longer than the others to a second worker, once nothing else is left to do."""
        if not self._exhausted or self._again or not self._times or self._gpu_only or len(self._workers) < 2:
            return
        limit, now = max(BACKUP_LEAST, BACKUP_FACTOR * statistics.median(self._times)), time.monotonic()
        slow = [copies[0] for copies in self._copies.values() if len(copies) == 1 and now - copies[0].since > limit]
        places = self._cluster.processing() if slow else {}
        for copy in slow[: self._threads(gpu=False) + self._threads(gpu=True)]:
            place = places.get(str(copy.future.key))
            others = [
                address
                for address, worker in self._workers.items()
                if address != place and (copy.lane != _GPU or worker["resources"].get(GPU))
            ]
            if place is not None and others:
                self._submit(copy.number, copy.item, copy.lane, others)

    def _resume(self) -> None:
        """Wait for a scheduler, and have all that was under way submitted again: it was lost with the last one."""
        lost = [(number, copies[0].item) for number, copies in self._copies.items()]
        self._copies.clear()
        self._alone = None
        self._again.extendleft(reversed(lost))
        self._cluster.recover()
        self._workers = self._cluster.workers()
        self._seen_worker = time.monotonic()


def _plain(error: BaseException) -> Exception:
    """Return the error as a user reads it."""
    if isinstance(error, KilledWorker):
        return UserError("every worker that worked on it died, several times: it may need more memory than they have")
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
