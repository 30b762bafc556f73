"""What a trained model says on processors of other kinds: the same but for rounding.

torch and MKL take the code for an older processor when they are told to; on machines without MKL, torch alone does.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from model import JointClustering
from tests.support.paths import ROOT

PROCESSORS = {
    "without AVX": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    },
    "with AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}
SCRIPT = """
import sys, numpy as np
from model import JointClustering
found = JointClustering.load(sys.argv[1]).infer(np.load(sys.argv[2]))
np.savez(sys.argv[3], **found._asdict())
"""
TIE = 1e-4  # of the probability: labels of series that are nearer to 1 / 2 may differ


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A saved model, and series of the range 0 to 1 with gaps."""
    folder = tmp_path_factory.mktemp("processors")
    rng = np.random.default_rng(0)
    peak = rng.choice([10, 30], (600, 1)) + rng.normal(0, 3, (600, 1))
    X = np.exp(-0.5 * ((np.arange(46) - peak) / 5) ** 2) + rng.normal(0, 0.05, (600, 46))
    X[rng.random(X.shape) < 0.4] = np.nan
    X = X.astype(np.float32)
    JointClustering(
        preset="robust", n_iter=20, warm_up=60, batch_size=200, hidden_size=16, device="cpu", random_state=0
    ).fit(X).save(folder / "model")
    np.save(folder / "X.npy", X)
    return folder


@pytest.fixture(scope="module")
def here(trained):
    """What the model says on this processor."""
    return infer_in_process(trained, {}, "here")


def infer_in_process(trained, settings, name):
    target = trained / f"{name}.npz"
    command = [sys.executable, "-c", SCRIPT, str(trained / "model"), str(trained / "X.npy"), str(target)]
    without = {key: value for key, value in os.environ.items() if key not in PROCESSORS["with AVX2"]}
    subprocess.run(command, check=True, cwd=ROOT, env={**without, **settings})
    with np.load(target) as found:
        return {key: found[key] for key in found.files}


@pytest.mark.parametrize("name", PROCESSORS)
def test_another_processor_gives_the_same_labels_but_for_ties_and_values_within_rounding(trained, here, name):
    there = infer_in_process(trained, PROCESSORS[name], name.replace(" ", "-"))
    for values in ("filled", "spread", "proba"):
        np.testing.assert_allclose(there[values], here[values], rtol=0, atol=1e-5)
    clear = np.abs(here["proba"].max(1) - 0.5) > TIE
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(there["labels"][clear], here["labels"][clear])
