"""The notebooks are stored without outputs, and run on the outputs of a small run of two years."""

import os

import h5py
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from pipeline.base.progress import Silent
from pipeline.config.sections import ITALY_BELTS
from pipeline.cube.layout import SIMULATED
from pipeline.runtime.executor import InProcess
from pipeline.stages.run import run
from tests.support.paths import ROOT
from tests.support.small_country import make_country, small_config

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STRICT = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", category=PendingDeprecationWarning)  # rasterio's and odc's use of affine
warnings.filterwarnings("ignore", "The 'shapely.ops.transform", DeprecationWarning)  # odc's
"""


def read(path):
    return nbformat.read(path, as_version=4)


def execute(path):
    """Run a notebook with warnings as errors, and return its text outputs by cell."""
    notebook = read(path)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(STRICT))
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(FOLDER)}}).execute()
    found, pictures = {}, 0
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        assert not [one.text for one in outputs if one.get("name") == "stderr"], cell.id
        found[cell.id] = "".join(one.text for one in outputs if one.output_type == "stream")
        pictures += sum("image/png" in one.get("data", {}) for one in outputs)
    return found, pictures


def test_there_are_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["estimators", "tour"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_hold_no_outputs_and_differ_in_few_lines_when_a_cell_is_changed(path):
    notebook = read(path)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert len(cell.id) > 2
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert cell.metadata == {}
            assert len(cell.source.splitlines()) <= 25
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert "\n" in path.read_text()[:100]  # a line a line, not all in one


@pytest.fixture(scope="module")
def two_years(tmp_path_factory):
    folder = tmp_path_factory.mktemp("years")
    for year in (2018, 2021):
        make_country(folder / str(year), year=year, seed=year)
        for path in (folder / str(year) / "granules").iterdir():
            with h5py.File(path, "r+") as file:
                file.attrs[SIMULATED] = np.bytes_("yes: a test")
        config = small_config(folder / str(year), folder / "out", year=year)
        run(config, InProcess(), Silent())
    return config


@pytest.mark.slow
def test_the_tour_runs_on_the_outputs_of_two_years(two_years, monkeypatch):
    for name, value in (
        ("SITSCUBE_OUT", two_years.out),
        ("SITSCUBE_REGION__NAME", two_years.region.name),
        ("SITSCUBE_REGION__OUTLINE", two_years.region.outline),
        ("SITSCUBE_EVALUATION__REGIONS", ITALY_BELTS),
    ):
        monkeypatch.setitem(os.environ, name, str(value))
    said, pictures = execute(FOLDER / "tour.ipynb")
    assert "years [2018, 2021], labels of 2021: winter, summer" in said["open"]
    assert "SIMULATED observations (yes: a test)" in said["open"]
    assert "Changed by the references" in said["change-estimate"]
    assert pictures >= 5


@pytest.mark.slow
def test_the_estimators_run_on_arrays():
    said, pictures = execute(FOLDER / "estimators.ipynb")
    for line in said["baselines"].splitlines():
        assert float(line.split()[-2]) > 90, line
    assert "same labels: True" in said["save"]
    assert pictures >= 5
