"""The simulated Italy is as hard as it says: easy with labels, hard without once gaps are filled with the mean."""

from pathlib import Path

import pytest

from benchmarks.simulation_difficulty import measure
from pipeline.config.config import load_config
from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.settings import Cluster
from pipeline.stages.simulate.stage import simulate


@pytest.mark.slow
@pytest.mark.parametrize("year", [2018, 2021, 2022])
def test_labels_make_it_easy_and_mean_filling_makes_it_hard(year: int, tmp_path: Path) -> None:
    config = load_config(year=year, out=tmp_path)
    with open_executor(Cluster(scheduler="local", workers=2)) as (executor, _):
        simulate(config, executor)
    figures = measure(config)
    assert 0.95 < figures["random forest"] < 0.985
    assert max(figures["k-means"]) < figures["random forest"] - 0.10
    assert 0.45 < figures["gaps by season"]["winter"] < 0.65
    assert 0.05 < figures["gaps by season"]["summer"] < 0.15
    assert 0.4 < figures["share winter"] < 0.7
    areas = figures["thousand km2 by region"]
    assert areas["north"]["summer"] > areas["north"]["winter"]
    assert areas["south"]["winter"] > 5 * areas["south"]["summer"]
