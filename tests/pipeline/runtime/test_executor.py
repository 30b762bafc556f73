import threading
import time
from functools import partial

import pytest
from distributed import Client, LocalCluster, get_worker

from pipeline.base import accounting
from pipeline.base.errors import ShardsFailed, Superseded, UserError
from pipeline.base.progress import Silent
from pipeline.grid.grid import Shard
from pipeline.runtime import per_process
from pipeline.runtime.dask import window
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.dask.executor import OnDask
from pipeline.runtime.executor import InProcess, Limits
from pipeline.runtime.settings import Cluster
from pipeline.runtime.stage import run_shards

SHARDS = [Shard(i, j) for i in range(5) for j in range(4)]
ONCE = Limits(retries=0)


def work(shard: Shard) -> int:
    if shard == Shard(2, 1):
        raise OSError("no answer")
    return 10 * shard.i + shard.j


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["in process", "dask"])
def executor(request, client):
    return InProcess(ONCE) if request.param == "in process" else OnDask(client, ONCE)


def test_every_item_has_one_outcome_and_a_failure_stops_no_other(executor):
    outcomes = {outcome.item: outcome for outcome in executor.run(work, SHARDS, name="work")}
    assert set(outcomes) == set(SHARDS)
    failed = outcomes.pop(Shard(2, 1))
    assert str(failed.error) == "no answer"
    assert all(outcome.result == 10 * shard.i + shard.j for shard, outcome in outcomes.items())


def test_failed_shards_are_named_at_the_end(executor):
    results = []
    with pytest.raises(ShardsFailed, match="y2x1: OSError: no answer") as caught:
        results.extend(run_shards(executor, work, SHARDS, "work", Silent()))
    assert len(results) == len(SHARDS) - 1
    assert list(caught.value.failures) == ["y2x1"]
    assert "the others are done" in str(caught.value)


def fail(error: Exception, _: Shard) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "most"), [(ValueError("wrong"), 4), (OSError(28, "No space left on device"), 1), (Superseded("later"), 1)]
)
def test_too_many_failures_end_the_stage_early_and_what_cannot_improve_at_once(client, error, most):
    for executor in (InProcess(Limits(3, 0)), OnDask(client, Limits(3, 0))):
        with pytest.raises(ShardsFailed, match="ended early") as caught:
            list(run_shards(executor, partial(fail, error), SHARDS, "work", Silent()))
        assert len(caught.value.failures) == most
        assert f"{len(SHARDS) - most} were not tried" in str(caught.value)


class Flaky:
    """A function that fails at the first attempt on every item."""

    def __init__(self, error: Exception) -> None:
        self.error, self.tried = error, []

    def __call__(self, shard: Shard) -> Shard:
        self.tried.append(shard)
        if self.tried.count(shard) == 1:
            raise self.error
        return shard


def test_input_that_fails_for_the_moment_is_tried_again_and_what_will_not_change_is_not(monkeypatch):
    monkeypatch.setattr("pipeline.runtime.stage.time.sleep", lambda _: None)
    flaky = Flaky(OSError(5, "Input/output error"))
    assert list(run_shards(InProcess(), flaky, SHARDS, "work", Silent())) == SHARDS
    assert len(flaky.tried) == 2 * len(SHARDS)
    for lasting in (ValueError("wrong"), FileNotFoundError(2, "No such file or directory"), UserError("damaged")):
        flaky = Flaky(lasting)
        with pytest.raises(ShardsFailed):
            list(run_shards(InProcess(Limits(len(SHARDS))), flaky, SHARDS, "work", Silent()))
        assert flaky.tried == SHARDS


def test_what_tasks_took_adds_up_in_the_stage(executor):
    def counted(shard: Shard) -> None:
        accounting.count_pixels(100)
        time.sleep(0.002)

    with accounting.collecting() as took:
        list(run_shards(executor, counted, SHARDS, "work", Silent()))
    assert took.shards == len(SHARDS)
    assert took.pixels == 100 * len(SHARDS)
    assert 0.04 < took.seconds < 20
    assert 1e7 < took.peak_memory < 1e11


GATE = threading.Event()
MADE: list[str] = []


def when_the_gate_opens(shard: Shard) -> str:
    GATE.wait(30)
    return str(shard)


def test_the_window_bounds_how_many_are_under_way(client):
    GATE.clear()
    taken = 0

    def items():
        nonlocal taken
        for taken, shard in enumerate(SHARDS, 1):  # noqa: B007
            yield shard

    stream = OnDask(client).run(when_the_gate_opens, items(), name="window")
    threading.Timer(0.3, GATE.set).start()
    next(stream)
    assert taken <= 2 * window.PER_THREAD + 1  # two threads, and the one that replaced the first
    assert len(list(stream)) == len(SHARDS) - 1


def make_model(device: str) -> str:
    MADE.append(device)
    return f"a model on {device}"


def test_what_tasks_hold_is_made_once_a_process_and_dropped_at_the_end(executor):
    MADE.clear()
    with executor.on_every_worker("model", make_model):
        found = {outcome.result for outcome in executor.run(lambda _: per_process.get("model"), SHARDS, name="use")}
    assert len(MADE) == 1
    assert found == {f"a model on {MADE[0]}"}
    with pytest.raises(KeyError):
        per_process.get("model")


def test_what_cannot_be_made_is_said_before_any_task(executor):
    def make(device: str) -> None:
        raise UserError("the model is damaged")

    with pytest.raises(UserError, match="the model is damaged"), executor.on_every_worker("model", make):
        pytest.fail("the block is not entered")


def where_am_i(_: object) -> str:
    time.sleep(0.01)
    return "gpu" if get_worker().state.total_resources.get("GPU") else "cpu"


@pytest.fixture(scope="module")
def mixed():
    """A worker that declares a GPU, and one that does not."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, resources={"GPU": 1}, dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.new_spec["options"] = {**cluster.new_spec["options"], "resources": {}}
        cluster.scale(2)
        with Client(cluster, set_as_default=False) as client:
            client.wait_for_workers(2)
            yield client


def test_work_for_a_gpu_goes_to_the_workers_that_declare_one(mixed):
    places = [outcome.result for outcome in OnDask(mixed).run(where_am_i, SHARDS, name="gpu", gpu=True)]
    assert places == ["gpu"] * len(SHARDS)
    beside = OnDask(mixed, cpu_beside_gpu=True)
    assert {outcome.result for outcome in beside.run(where_am_i, SHARDS, name="both", gpu=True)} == {"gpu", "cpu"}
    assert "cpu" in {outcome.result for outcome in OnDask(mixed).run(where_am_i, SHARDS, name="any")}


def training(listener) -> str:
    for step in range(1, 4):
        listener({"phase": "joint", "step": step, "total": 3, "losses": {"rec": 0.5}})
    return where_am_i(None)


def my_thread(_) -> int:
    return threading.get_ident()


def test_long_work_is_done_on_the_gpu_worker_and_followed_from_here(mixed, client):
    events = []
    assert OnDask(mixed).once(training, name="train", listener=events.append) == "gpu"
    for _ in range(100):
        if events and events[-1]["step"] == 3:
            break
        time.sleep(0.05)
    assert events[0] == {"phase": "joint", "step": 1, "total": 3, "losses": {"rec": 0.5}}
    assert events[-1]["step"] == 3

    here = threading.get_ident()
    assert OnDask(client).once(my_thread, name="train", listener=events.append) == here


def test_an_error_of_long_work_comes_back(mixed):
    with pytest.raises(UserError, match="does not converge"):
        OnDask(mixed).once(partial(fail, UserError("does not converge")), name="train", listener=print)


HUNG: list[str] = []


def the_first_hangs(shard: Shard) -> Shard:
    """The worker that gets the first shard hangs there, and only there."""
    if shard == SHARDS[0] and not HUNG:
        HUNG.append(get_worker().address)
        GATE.wait(30)
    time.sleep(0.01)
    return shard


def test_what_one_worker_does_not_finish_another_does(mixed, monkeypatch):
    monkeypatch.setattr(window, "BACKUP_LEAST", 0.5)
    monkeypatch.setattr(window, "TICK", 0.05)
    GATE.clear()
    HUNG.clear()
    try:
        outcomes = list(OnDask(mixed).run(the_first_hangs, SHARDS, name="slow"))
        assert not GATE.is_set()
    finally:
        GATE.set()
    assert sorted(outcome.result for outcome in outcomes) == SHARDS
    assert len(HUNG) == 1


def test_without_any_worker_it_is_said(monkeypatch):
    monkeypatch.setattr(window, "TICK", 0.05)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        pytest.raises(UserError, match=r"has had no worker for 0\.2 s"),
    ):
        list(OnDask(client, Limits(patience=0.2)).run(work, SHARDS, name="work"))


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("pipeline.runtime.dask.executor.CONNECT_TIMEOUT", "1s")
    with (
        pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:9"),
        open_executor(Cluster(scheduler="tcp://127.0.0.1:9")),
    ):
        pass
