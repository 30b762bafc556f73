"""The model works where the libraries of the pipeline are not installed."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

FOREIGN = (
    "dask", "distributed", "zarr", "prefect", "xarray", "rasterio", "odc", "h5py", "matplotlib", "typer",
    "pipeline", "flows",
)  # fmt: skip
# Finders do not find the blocked libraries; an error in their place would break torch, which looks for some of them.
BLOCK = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in BLOCKED else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
USE = """
import tempfile
import numpy as np
from model import JointClustering

X = np.random.default_rng(0).random((24, 6)).astype(np.float32)
X[::3, 2] = np.nan
model = JointClustering(n_iter=2, pretrain_epochs=1, batch_size=8, random_state=0, device="cpu").fit(X)
with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/model")
    loaded = JointClustering.load(f"{folder}/model", device="cpu")
assert (loaded.predict(X) == model.labels_).all()
print("used")
"""


def in_a_process_without(blocked: tuple[str, ...], script: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", f"BLOCKED = {blocked!r}\n{BLOCK}\n{script}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_the_model_is_trained_saved_and_loaded_without_the_libraries_of_the_pipeline():
    done = in_a_process_without(FOREIGN, USE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "used\n"


@pytest.mark.parametrize("name", [*FOREIGN, "safetensors"])
def test_a_library_that_is_missing_would_be_noticed(name):
    """What the test above relies on: a blocked library cannot be imported, and one that the model needs is missed."""
    done = in_a_process_without((name,), USE if name == "safetensors" else f"import {name}")
    assert done.returncode == 1
    assert f"No module named '{name}'" in done.stderr
