"""The executor that works on a Dask cluster, whose workers may have GPUs."""

import json
import socket
import ssl
import tempfile
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from distributed import Client, Future, get_worker, performance_report
from distributed.security import Security

from pipeline.base.errors import Cancelled, OutOfReach, UserError
from pipeline.base.files import write_bytes
from pipeline.base.locations import Location
from pipeline.runtime.dask.window import GONE, Window, Worker
from pipeline.runtime.executor import Capacity, Event, Item, Limits, Listener, Outcome, Recording, Result
from pipeline.runtime.per_process import GPU, Holder, problem

CONNECT_TIMEOUT: Final = "10s"
_HANDSHAKE: Final = 5.0  # s within which a scheduler refuses a certificate
_EVENT_PAUSE: Final = 0.25  # s, at least, between two events that a worker sends


def open_client(scheduler: str, security: Security | None = None) -> Client:
    """Connect to the Dask scheduler at `scheduler`, such as tcp://127.0.0.1:8786.

    Args:
        scheduler: its address; tls://... where it asks for certificates.
        security: the client's certificate and key, for those.

    Raises:
        UserError: address and certificate do not match, or the scheduler's or the client's is not accepted.
        OutOfReach: nothing answers there in time.
    """
    if scheduler.startswith("tls://") != (security is not None):
        raise UserError(
            f"the scheduler {scheduler} asks for TLS: name the files in cluster.tls_ca_file, tls_cert and tls_key."
            if security is None
            else f"cluster.tls_ca_file, tls_cert and tls_key are given, but {scheduler} is no address of a scheduler "
            "with TLS: it begins with tls://."
        )
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT, set_as_default=False, security=security)
    except (OSError, TimeoutError, ValueError) as error:
        if security is not None and _refuses(scheduler, security):
            raise UserError(
                f"the Dask scheduler at {scheduler} and this client do not accept each other's certificates: are both "
                "signed by the authority in cluster.tls_ca_file?"
            ) from None
        encrypted = "" if security is not None else " If it asks for TLS, its address begins with tls://."
        raise OutOfReach(
            f"no Dask scheduler answers at {scheduler} ({error}). Start one with `dask scheduler`, "
            f"or leave --scheduler out to run in this process.{encrypted}"
        ) from None


def _refuses(scheduler: str, security: Security) -> bool:
    """Return whether something listens at an address, and the TLS handshake with it fails."""
    host, _, port = scheduler.removeprefix("tls://").rpartition(":")
    context = security.get_connection_args("client")["ssl_context"]
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_HANDSHAKE) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            encrypted.recv(1)  # with TLS 1.3 a server refuses a client only after the handshake
    except ssl.SSLError:
        return True
    except (OSError, ValueError):
        return False
    return False


class OnDask:
    """The executor on a Dask cluster; a bounded number of futures, so that no graph grows with the country.

    Args:
        client: connected; when the scheduler is lost, another client connects to the same address.
        limits: how much may fail.
        cpu_beside_gpu: whether workers without a GPU take part in work that is meant for one.
    """

    def __init__(self, client: Client, limits: Limits | None = None, *, cpu_beside_gpu: bool = False) -> None:
        self.client, self.limits, self.cpu_beside_gpu = client, limits or Limits(), cpu_beside_gpu
        self.address = str(client.scheduler_info(n_workers=0)["address"])
        self._given = client
        self._plugins: dict[str, Holder] = {}
        self._topics: dict[str, Callable[[Any], None]] = {}

    def run(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, name: str, gpu: bool = False
    ) -> Generator[Outcome[Item, Result]]:
        """Yield one `Outcome` per item, as they finish; the dashboard shows tasks by `name` and item."""
        return Window(self, function, items, name, gpu=gpu).outcomes()

    @contextmanager
    def on_every_worker(self, key: str, make: Callable[[str], Any]) -> Iterator[None]:
        """Call `make` on every worker, also on those that join later, by a worker plugin.

        Raises:
            UserError: a worker cannot make it; the message names the worker.
        """
        self._plugins[key] = Holder(key, make)
        try:
            self._make_on_all(key)
            yield
        finally:
            plugin = self._plugins.pop(key)
            with suppress(*GONE, ValueError):  # the scheduler is gone, or another one that never knew it
                self.client.unregister_worker_plugin(plugin.name)

    def _make_on_all(self, key: str) -> None:
        while True:
            try:
                self.client.register_plugin(self._plugins[key])
                problems = self.client.run(partial(problem, key))
                break
            except GONE:
                self.recover()
        for address, found in problems.items():
            if found:
                raise UserError(f"the Dask worker {address} cannot take part: {found}")

    def once(self, function: Callable[[Listener], Result], *, name: str, listener: Listener) -> Result:
        """Run the function on a GPU worker, and send its events to `listener`; run it here where no worker has a GPU.

        Raises:
            OutOfReach: the scheduler or the GPU workers are gone for longer than the patience allows.
        """
        if not self.describe().gpu_workers:
            return function(listener)
        topic = f"sitscube-{uuid.uuid4().hex}"
        self._topics[topic] = lambda event: listener(event[1]["event"])
        self.client.subscribe_topic(topic, self._topics[topic])
        try:
            window = Window(self, _Followed(function, topic), ["on GPU"], name, gpu=True, gpu_only=True)
            (outcome,) = window.outcomes()
        finally:
            del self._topics[topic]
            with suppress(*GONE):
                self.client.unsubscribe_topic(topic)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result  # type: ignore[return-value]

    @contextmanager
    def record(self, path: Location) -> Iterator[Recording]:
        """Save Dask's performance report of the block, a page that needs no network, unless the scheduler was lost."""
        recording = Recording()
        with tempfile.TemporaryDirectory() as folder, self.client.as_current():
            page = Path(folder) / "report.html"
            report = performance_report(str(page), mode="inline")
            with suppress(*GONE):  # here and below: the report is for information only
                report.__enter__()
            try:
                yield recording
            finally:
                if recording.wanted and self.client is self._given and self.client.status == "running":
                    with suppress(*GONE, AttributeError):  # AttributeError: it has not begun
                        report.__exit__(None, None, None)
                        write_bytes(path, page.read_bytes())

    def describe(self) -> Capacity:
        """Return the workers that the cluster has at this moment.

        Raises:
            OutOfReach: the scheduler is gone for longer than the patience allows.
        """
        try:
            workers = self.workers().values()
        except GONE:
            self.recover()
            return self.describe()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"]]
        return Capacity(
            scheduler=self.address,
            workers=len(workers),
            gpu_workers=sum(bool(worker["resources"].get(GPU)) for worker in workers),
            threads=sum(worker["nthreads"] for worker in workers),
            memory_limit=min(limits, default=None),
        )

    def close(self) -> None:
        """Close the client, unless it is the one that was passed in: that is its owner's."""
        if self.client is not self._given:
            self.client.close()

    # ---- for the window

    def workers(self) -> dict[str, Worker]:
        """Return the workers by address, as the scheduler describes them."""
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def processing(self) -> dict[str, str]:
        """Return the address of the worker that has each task, by the task's key."""
        try:
            places = self.client.processing()
        except GONE:
            return {}
        return {str(key): address for address, keys in places.items() for key in keys}

    def cancel(self, futures: Sequence[Future]) -> None:
        """Cancel futures; what is being computed ends, and its result is dropped."""
        if futures and self.client.status == "running":
            with suppress(*GONE):
                self.client.cancel(futures, force=True)

    def recover(self) -> None:
        """Wait until a scheduler answers at the same address and has a worker.

        Raises:
            OutOfReach: none does within the patience.
        """
        until = time.monotonic() + self.limits.patience
        while not self._answers():
            if time.monotonic() > until:
                raise OutOfReach(
                    f"the Dask scheduler at {self.address} is gone, or has no workers: start it again with workers and "
                    "run the same command again, only what is missing is done."
                )
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            if self.client.status == "closed":
                self.client = Client(self.address, timeout="2s", set_as_default=False, security=self._given.security)
            if self.client.status != "running" or not self.client.nthreads():
                return False
            for plugin in self._plugins.values():
                self.client.register_plugin(plugin)
            for topic, handler in self._topics.items():
                self.client.subscribe_topic(topic, handler)
        except GONE:
            return False
        return True


class _Followed:
    """A function that runs on a worker, sends its events to the scheduler, and ends when nobody waits for it."""

    def __init__(self, function: Callable[[Listener], Any], topic: str) -> None:
        self._function, self._topic = function, topic

    def __call__(self, _: str) -> Any:
        worker = get_worker()
        key = worker.get_current_task()
        sent = 0.0

        def send(event: Event) -> None:
            nonlocal sent
            task = worker.state.tasks.get(key)
            if task is None or task.state not in ("executing", "long-running"):
                raise Cancelled("the run that asked for this work has ended")
            now = time.monotonic()
            if now - sent >= _EVENT_PAUSE or event.get("resumed") or event.get("step") == event.get("total"):
                sent = now
                worker.log_event(self._topic, {"event": json.loads(json.dumps(event, default=float))})

        return self._function(send)
