"""Inference on a cluster of real processes that are killed, fail and are slow, compared with an undisturbed run."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config.config import Config
from tests.support.faulty_worker import VARIABLE, set_faults
from tests.support.paths import ROOT
from tests.support.processes import Cluster, Process, wait_until
from tests.support.synthetic_country import N_OUTPUTS, SIDE, YEAR, Country, chunks, strays

pytestmark = pytest.mark.slow
N_SHARDS = SIDE**2
SLOWLY = {"*": "sleep:0.15"}  # so that a kill finds work under way
END = 120.0  # s within which every run must come to an end of some kind


@pytest.fixture(scope="module")
def country(tmp_path_factory: pytest.TempPathFactory) -> Country:
    return Country.make(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    set_faults(folder / "faults.json", {})
    environment = {
        VARIABLE: str(folder / "faults.json"),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",  # a worker that a shard kills is given it once more
        "SITSCUBE_CLUSTER__PATIENCE": "30",
    }
    preload = ROOT / "tests" / "support" / "faulty_worker.py"
    with Cluster(folder, n_workers=2, preload=preload, environment=environment) as cluster:
        yield cluster


@pytest.fixture
def cluster(processes: Cluster) -> Cluster:
    """Two workers without faults, whatever the test before has done."""
    faults(processes, {})
    processes.end_commands()
    processes.revive()
    processes.wait_for_workers(2)
    return processes


def faults(cluster: Cluster, found: dict[str, str]) -> None:
    set_faults(Path(cluster.environment[VARIABLE]), found)


def start(cluster: Cluster, config: Config, **environment: str) -> Process:
    arguments = ("infer", "--year", str(YEAR), "--out", str(config.out), "--scheduler", cluster.address)
    return cluster.run_command(*arguments, environment=environment)


def done(config: Config) -> int:
    """Return the shards whose last object is written."""
    return len(list(config.map.glob("label/c/*/*"))) if config.map.exists() else 0


def wait_for_shards(run: Process, config: Config, n: int) -> None:
    wait_until(lambda: done(config) >= n or not run.alive, f"{n} shards")
    assert run.alive, run.output


def stamps(config: Config) -> dict[str, tuple[int, int]]:
    """Return inode and time of last change of every chunk object."""
    found = {}
    for path in config.map.glob("*/c/**/*"):
        if path.is_file():
            status = path.stat()
            found[str(path.relative_to(config.map))] = status.st_ino, status.st_mtime_ns
    return found


def recorded(config: Config) -> set[str]:
    """Return the chunk objects of the shards with a record."""
    shards = [path.stem for path in config.map.glob("records/infer/y*x*.json")]
    places = [name.removeprefix("y").split("x") for name in shards]
    return {name for name in chunks(config.map) for i, j in places if name.endswith(f"/{i}/{j}")}


def objects_of(country: Country, ending: str) -> set[str]:
    """Return the chunk objects of one shard, such as "/2/3"."""
    found = {name for name in country.expected if name.endswith(ending)}
    assert len(found) == N_OUTPUTS
    return found


def assert_whole(config: Config, country: Country) -> None:
    assert chunks(config.map) == country.expected
    assert not strays(config.map)


def assert_clear(run: Process, *texts: str) -> None:
    """Check that a message is for a user: it names the cause, and has no traceback."""
    assert "Traceback" not in run.output, run.output
    for text in texts:
        assert text in run.output


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "not replaced"])
def test_a_killed_worker_costs_no_shard(cluster, country, tmp_path, replaced):
    config = country.again(tmp_path)
    faults(cluster, SLOWLY)
    run = start(cluster, config)
    wait_for_shards(run, config, random.Random(str(replaced)).randrange(1, N_SHARDS // 2))
    cluster.kill_worker("worker-0")
    if replaced:
        cluster.revive()
    assert run.wait(END) == 0, run.output
    assert_whole(config, country)


def test_the_run_outlives_its_scheduler_or_says_what_to_do(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, SLOWLY)
    run = start(cluster, config)
    wait_for_shards(run, config, 5)
    cluster.kill_scheduler()
    wait_until(lambda: not any(worker.alive for worker in cluster.workers.values()), "workers to notice")
    cluster.revive()
    if run.wait(END) != 0:
        assert_clear(run, cluster.address, "run the same command again")
        run = start(cluster, config)
        assert run.wait(END) == 0, run.output
    assert_whole(config, country)


def test_without_its_scheduler_the_run_ends_and_goes_on_another_day(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, SLOWLY)
    run = start(cluster, config, SITSCUBE_CLUSTER__PATIENCE="2")
    wait_for_shards(run, config, 3)
    cluster.kill_scheduler()
    assert run.wait(END) == 1
    assert_clear(run, cluster.address, "run the same command again")
    cluster.revive()
    before, kept = stamps(config), recorded(config)
    assert len(kept) >= 2 * N_OUTPUTS
    run = start(cluster, config)
    assert run.wait(END) == 0, run.output
    assert_whole(config, country)
    after = stamps(config)
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


def test_a_killed_client_may_be_started_again_while_its_old_tasks_still_run(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, {"*": "hold"})
    run = start(cluster, config)
    cluster.wait_for_tasks(2)
    run.kill()
    cluster.wait_for_tasks(0)  # the scheduler forgets the client's tasks, but what is at work goes on
    again = start(cluster, config)
    cluster.wait_for_tasks(2)
    faults(cluster, {})
    assert again.wait(END) == 0, again.output
    assert_whole(config, country)


def test_old_tasks_write_nothing_into_the_map_of_a_new_model(cluster, country, tmp_path):
    other = Country.make(tmp_path / "other", seed=1)
    config = country.again(tmp_path / "run")
    faults(cluster, {"*": "hold"})
    run = start(cluster, config)
    cluster.wait_for_tasks(2)
    run.kill()
    cluster.wait_for_tasks(0)
    config.model.unlink()
    config.model.symlink_to(other.config.model)
    again = start(cluster, config)
    cluster.wait_for_tasks(2)
    faults(cluster, {"worker-0": "hold"})  # one old task goes on at once, the other when the new map is finished
    assert again.wait(END) == 0, again.output
    assert_whole(config, other)
    faults(cluster, {})
    cluster.wait_for_idle_workers()
    assert other.expected != country.expected
    assert_whole(config, other)


def test_a_shard_that_raises_is_named_and_alone_done_again(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, {"y2x3": "raise"})
    run = start(cluster, config)
    assert run.wait(END) == 1
    assert_clear(run, "1 shard(s) failed", "y2x3", "made to fail", "run the same command again")
    before = stamps(config)
    assert set(country.expected) - set(before) == objects_of(country, "/2/3")
    faults(cluster, {})
    run = start(cluster, config)
    assert run.wait(END) == 0, run.output
    assert_whole(config, country)
    assert {name: stamp for name, stamp in stamps(config).items() if name in before} == before


def test_a_shard_that_kills_its_workers_is_named_and_no_other_is_blamed(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, {"y1x1": "kill"})
    run = start(cluster, config)
    wait_until(lambda: cluster.revive() is None or not run.alive, "the run to give the shard up", END)
    assert run.wait() == 1
    assert_clear(run, "1 shard(s) failed", "y1x1")
    assert set(country.expected) - set(chunks(config.map)) == objects_of(country, "/1/1")


def test_a_worker_that_dawdles_is_not_waited_for(cluster, country, tmp_path):
    config = country.again(tmp_path)
    faults(cluster, {"worker-1": "sleep:300"})
    run = start(cluster, config)
    assert run.wait(90) == 0, run.output
    assert_whole(config, country)
    cluster.kill_worker("worker-1")


def test_without_workers_the_run_waits_for_one_and_then_says_so(cluster, country, tmp_path):
    config = country.again(tmp_path)
    for name in cluster.workers:
        cluster.kill_worker(name)
    run = start(cluster, config, SITSCUBE_CLUSTER__PATIENCE="2")
    assert run.wait(END) == 1
    assert_clear(run, "worker", cluster.address)
    run = start(cluster, config)
    wait_until(config.map.exists, "the map to begin")
    cluster.revive()
    assert run.wait(END) == 0, run.output
    assert_whole(config, country)
