"""Executors: what each of them promises, and the one that works in this process."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Generic, NotRequired, Protocol, TypedDict, TypeVar, final

from pipeline.base.locations import Location
from pipeline.runtime import per_process

Item = TypeVar("Item")
Result = TypeVar("Result")


@final
class TrainingStep(TypedDict):
    """How far a training has come: the losses after a step of one of its phases."""

    phase: str  # "pretrain" or "joint"
    step: int
    total: int
    losses: dict[str, float]
    resumed: NotRequired[bool]  # whether the training continues there after it was stopped


@final
class Message(TypedDict):
    """A line for the user."""

    message: str


Event = TrainingStep | Message
Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Capacity:
    """The workers of an executor: how many there are, and the memory of the smallest."""

    scheduler: str | None = None  # address; None: the work is done in this process
    workers: int = 1
    gpu_workers: int = 0  # of these, with a GPU
    threads: int = 1  # of all workers
    memory_limit: int | None = None  # bytes of the smallest worker; None: unknown, or that of this machine

    def as_json(self) -> dict[str, str | int | None]:
        """Return the numbers as `summary.json` records them; in this process without a limit of memory."""
        numbers = asdict(self)
        if self.scheduler is None:
            del numbers["memory_limit"]
        return numbers


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """The result of one item, or the error that it raised."""

    item: Item
    result: Result | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class Limits:
    """How much may fail before a stage gives up."""

    max_failures: int = 10  # shards that fail; one more ends the stage early
    retries: int = 2  # of a shard whose input or output failed for the moment
    patience: float = 60.0  # s without a scheduler, or without a worker that could do the work


@dataclass
class Recording:
    """A performance report that is being made; it is saved if it is wanted at the end."""

    wanted: bool = True


class Executor(Protocol):
    """A place of work: runs a function over items, and yields each outcome as it is ready, in any order."""

    limits: Limits

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str, gpu: bool = False
    ) -> Generator[Outcome[Item, Result]]:
        """Yield one `Outcome` per item; an item that raises stops no other.

        Args:
            function: run twice on one item, it must return and write the same.
            items: taken as they are needed.
            name: of the tasks.
            gpu: whether the work belongs on a GPU where there is one.
        """
        ...

    def on_every_worker(self, key: str, make: Callable[[str], Any]) -> AbstractContextManager[None]:
        """Call `make(device)` once in every process in which tasks run; these get its result by `per_process.get`."""
        ...

    def once(self, function: Callable[[Listener], Result], *, name: str, listener: Listener) -> Result:
        """Run one long piece of work on a GPU worker where there is one, else in this process.

        Args:
            function: called with a listener, to which it sends its events.
            name: of the task.
            listener: called here with every event.
        """
        ...

    def record(self, path: Location) -> AbstractContextManager[Recording]:
        """Save Dask's performance report of the block, if tasks run on a cluster."""
        ...

    def describe(self) -> Capacity:
        """Return the number of workers and their memory."""
        ...


class InProcess:
    """The executor that works in this process, one item after the other: tests, debugging, small grids."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str, gpu: bool = False
    ) -> Generator[Outcome[Item, Result]]:
        """Yield one `Outcome` per item, in the order given."""
        for item in items:
            try:
                result = function(item)
            except Exception as error:  # noqa: BLE001 - the caller reports it by the item's name
                yield Outcome(item, error=error)
            else:
                yield Outcome(item, result=result)

    @contextmanager
    def on_every_worker(self, key: str, make: Callable[[str], Any]) -> Iterator[None]:
        """Call `make` here, on a GPU where this machine has one."""
        per_process.make(key, make, "auto")
        try:
            per_process.get(key)  # raises what making it raised
            yield
        finally:
            per_process.drop(key)

    def once(self, function: Callable[[Listener], Result], *, name: str, listener: Listener) -> Result:
        """Run the function here."""
        return function(listener)

    @contextmanager
    def record(self, path: Location) -> Iterator[Recording]:
        """Save nothing."""
        yield Recording(wanted=False)

    def describe(self) -> Capacity:
        """Return one worker: this process."""
        return Capacity()
