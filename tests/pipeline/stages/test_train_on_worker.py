"""Training where the cluster has a GPU worker: there, followed from here, and to the same model."""

import time

import pytest
from distributed import Client, LocalCluster

from pipeline.runtime.dask.executor import OnDask
from pipeline.stages.train.stage import state_folder, train
from tests.pipeline.stages.test_train_resume import Recorder, assert_same_model
from tests.support.processes import Cluster, wait_until
from tests.support.small_country import small_config


@pytest.fixture
def prepared(finished, tmp_path):
    """The finished cube in an output folder of the test's own, and no model."""
    config = small_config(finished.region.outline.parent, tmp_path / "out", ingest__shard=16, ingest__chunk=8)
    config.year_folder.mkdir(parents=True)
    config.cube.symlink_to(finished.cube)
    return config


def test_the_gpu_worker_trains_the_same_model_and_tells_how_far_it_is(prepared, finished):
    told = Recorder()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, resources={"GPU": 1}, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert train(prepared, OnDask(client), told).fresh
        assert not train(prepared, OnDask(client), told).fresh
    assert_same_model(prepared.model, finished.model)
    assert not state_folder(prepared).exists()
    assert any("clu" in note for note in told.notes)  # the worker's losses beside the bar here
    assert 0 < told.steps <= told.total


@pytest.mark.slow
def test_a_gpu_worker_that_is_killed_is_replaced_and_goes_on_to_the_same_model(finished, tmp_path, country):
    """SIGKILL once the worker has kept a state; its successor goes on there; the client waits for it."""
    file = tmp_path / "config.toml"
    file.write_text(
        f'year = 2018\n[region]\nname = "small"\noutline = "{country / "outline.geojson"}"\n'
        f'[ingest]\ngranules = "{country / "granules"}"\nshard = 16\nchunk = 8\n'
        f'[reference]\npath = "{country / "reference.tif"}"\n'
        "[training]\niterations = 400\nwarm_up = 60\nbatch_size = 100\nhidden_size = 5\n"
        "target_interval = 50\nw_gen = 0.0\n"
    )
    models = []
    with Cluster(tmp_path / "cluster", n_workers=1) as cluster:
        cluster.start_worker("gpu", "--resources", "GPU=1")
        cluster.wait_for_workers(2)
        for kills in (0, 2):
            out = tmp_path / f"out-{kills}"
            year = out / "small" / "2018"
            year.mkdir(parents=True)
            (year / "cube.zarr").symlink_to(finished.cube)
            states = set()
            command = cluster.run_command(
                "train", "--config", str(file), "--out", str(out), "--scheduler", cluster.address
            )
            for _ in range(kills):
                seen = len(states)

                def another(folder=year / "training", seen=seen, states=states):
                    states.update(path.name for path in folder.glob("state-*"))
                    return len(states) > seen

                wait_until(another, "the worker to keep a state")
                cluster.kill_worker("gpu")
                time.sleep(0.5)
                cluster.start_worker("gpu")
            assert command.wait(240) == 0, command.output
            assert not (year / "training").exists()
            assert ("training goes on at iteration" in command.output) == bool(kills)
            models.append(year / "model")
    assert_same_model(*models)
