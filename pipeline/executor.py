"""Where shards are worked on: in this process, or on a Dask cluster in a bounded window of futures."""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from distributed import Client, Future, LocalCluster, as_completed

from pipeline.errors import UserError

CONNECT_TIMEOUT = "10s"
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of one item: its result, or the error that it raised."""

    item: Item
    result: Result | None = None
    error: Exception | None = None


class Executor(Protocol):
    """Runs a function over items and hands each outcome back as it is ready, in any order."""

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield one `Outcome` an item; an item that raises stops no other."""
        ...


class InProcess:
    """One item after the other in this process: tests, debugging, small grids."""

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield one `Outcome` an item, in the order given."""
        for item in items:
            try:
                result = function(item)
            except Exception as error:  # handed to the caller, who reports it by the item's name
                yield Outcome(item, error=error)
            else:
                yield Outcome(item, result=result)


class OnDask:
    """Futures on a Dask cluster, at most `window` of them at a time, so that no graph grows with the country."""

    def __init__(self, client: Client, window_per_thread: int = 3) -> None:
        self._client, self._address = client, client.scheduler_info().get("address", "")
        self._window_per_thread = window_per_thread

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str
    ) -> Iterator[Outcome[Item, Result]]:
        """Yield one `Outcome` an item, as they finish; tasks carry `name` on the dashboard."""
        waiting = iter(items)
        running: dict[Future, Item] = {}
        threads = sum(self._client.nthreads().values())
        if threads == 0:
            raise UserError(f"the Dask cluster {self._address} has no workers: start some first")
        futures = as_completed(loop=self._client.loop)

        def submit_next() -> None:
            for item in waiting:
                future = self._client.submit(function, item, key=f"{name}-{item}-{id(waiting):x}", pure=False)
                running[future] = item
                futures.add(future)
                return

        for _ in range(self._window_per_thread * threads):
            submit_next()
        try:
            while running:
                future = next(futures)
                item = running.pop(future)
                error = future.exception()
                outcome = Outcome(item, error=error) if error else Outcome(item, result=future.result())
                future.release()
                submit_next()
                yield outcome
        finally:
            if running:
                self._client.cancel(list(running))


def open_client(scheduler: str) -> Client:
    """Connect to the Dask scheduler at `scheduler`, such as tcp://127.0.0.1:8786.

    Raises:
        UserError: nothing answers there in time.
    """
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {scheduler} ({error}). Start one with `dask scheduler`, "
            "or leave --scheduler out to run in this process."
        ) from None


@contextmanager
def open_executor(scheduler: str | None, workers: int) -> Iterator[tuple[Executor, str | None]]:
    """Open what the configuration asks for: None in process, "local" a cluster of our own, else an address.

    Yields:
        The executor and the dashboard's address (None in process).
    """
    logging.getLogger("distributed").setLevel(logging.ERROR)  # comings and goings of workers are on the dashboard
    if scheduler is None:
        yield InProcess(), None
    elif scheduler == "local":
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            yield OnDask(client), client.dashboard_link
    else:
        with open_client(scheduler) as client:
            yield OnDask(client), client.dashboard_link
