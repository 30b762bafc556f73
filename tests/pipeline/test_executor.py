import pytest
from distributed import Client, LocalCluster

from pipeline.errors import ShardsFailed, UserError
from pipeline.executor import InProcess, OnDask, open_executor
from pipeline.grid import Shard
from pipeline.progress import Silent
from pipeline.stage import run_shards

SHARDS = [Shard(i, j) for i in range(5) for j in range(4)]


def work(shard: Shard) -> int:
    if shard == Shard(2, 1):
        raise OSError("no space left")
    return 10 * shard.i + shard.j


@pytest.fixture(scope="module", params=["in process", "dask"])
def executor(request):
    if request.param == "in process":
        yield InProcess()
        return
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield OnDask(client)


def test_every_item_has_one_outcome_and_a_failure_stops_no_other(executor):
    outcomes = {outcome.item: outcome for outcome in executor.run(work, SHARDS, name="work")}
    assert set(outcomes) == set(SHARDS)
    failed = outcomes.pop(Shard(2, 1))
    assert str(failed.error) == "no space left"
    assert all(outcome.result == 10 * shard.i + shard.j for shard, outcome in outcomes.items())


def test_failed_shards_are_named_at_the_end(executor):
    results = []
    with pytest.raises(ShardsFailed, match="y2x1: OSError: no space left") as caught:
        results.extend(run_shards(executor, work, SHARDS, "work", Silent()))
    assert len(results) == len(SHARDS) - 1
    assert list(caught.value.failures) == ["y2x1"]


def test_the_window_bounds_how_many_are_under_way():
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        taken = 0

        def items():
            nonlocal taken
            for taken, shard in enumerate(SHARDS, 1):  # noqa: B007
                yield shard

        stream = OnDask(client, window_per_thread=1).run(str, items(), name="window")
        next(stream)
        assert taken <= 3  # two threads, and the one that replaced the first
        assert len(list(stream)) == len(SHARDS) - 1


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("pipeline.executor.CONNECT_TIMEOUT", "1s")
    with pytest.raises(UserError, match=r"tcp://127\.0\.0\.1:9"), open_executor("tcp://127.0.0.1:9", 1):
        pass
