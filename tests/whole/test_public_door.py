"""The public names of `sitscube`, and what importing them loads."""

import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest

import model
import pipeline
import sitscube
from tests.support.paths import ROOT

HOMES = {
    "CRLI": model,
    "JointClustering": model,
    "MeanDEC": model,
    "open_clusters": pipeline,
    "open_year": pipeline,
}


def printed(code):
    """What a fresh interpreter in the checkout prints."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def loaded_after(statement):
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(printed(code))


def test_importing_the_door_loads_no_library():
    loaded = loaded_after("import sitscube; assert sitscube.__version__; dir(sitscube)")
    assert not loaded & {"torch", "zarr", "numpy", "xarray", "dask", "sklearn", "model", "pipeline", "flows"}


def test_an_estimator_loads_no_pipeline():
    loaded = loaded_after("from sitscube import MeanDEC")
    assert {"model", "torch"} <= loaded
    assert not loaded & {"pipeline", "zarr", "dask", "prefect"}


def test_opening_outputs_loads_no_torch():
    loaded = loaded_after("from sitscube import open_year")
    assert {"pipeline", "zarr"} <= loaded
    assert not loaded & {"model", "torch", "prefect"}


@pytest.mark.parametrize("name", HOMES)
def test_every_name_is_that_of_its_package(name):
    assert getattr(sitscube, name) is getattr(HOMES[name], name)


def test_all_names_are_listed():
    assert set(sitscube.__all__) == {*HOMES, "__version__"} == set(dir(sitscube))


def test_an_unknown_name_is_refused_with_the_names_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'MeanDec'; it has CRLI, JointClustering, MeanDEC, "):
        sitscube.MeanDec  # noqa: B018
    with pytest.raises(ImportError):
        from sitscube import JointCluster  # noqa: F401


def test_the_version_is_that_of_pyproject():
    with (ROOT / "pyproject.toml").open("rb") as file:
        written = tomllib.load(file)["project"]["version"]
    assert sitscube.__version__ == version("sitscube") == written


def test_an_installation_holds_all_packages():
    with (ROOT / "pyproject.toml").open("rb") as file:
        setuptools = tomllib.load(file)["tool"]["setuptools"]
    assert set(setuptools["packages"]["find"]["include"]) == {"sitscube*", "model*", "pipeline*", "flows*"}
    for package in ("sitscube", "model", "pipeline"):
        assert "py.typed" in setuptools["package-data"][package]
        assert (ROOT / package / "py.typed").is_file()
