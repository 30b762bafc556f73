"""One small country for the whole session, and one finished run of it that tests may read but not change."""

import os
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from pipeline.base.progress import Silent
from pipeline.config.config import Config
from pipeline.runtime.executor import InProcess
from pipeline.stages.run import run
from tests.support.downloads import NAMES, OTHER_TILE, connected
from tests.support.earthdata_service import EarthdataService, granule_bytes
from tests.support.small_country import make_country, small_config


def pytest_configure() -> None:
    """Switch off the profiler of Dask workers, here and in processes that tests start.

    It calls `sys._current_frames` every few milliseconds. In CPython 3.11.7 that stops the whole process for ever where
    a garbage collection begins inside it (python/cpython issue 106883), and with it pytest and its timeout.
    """
    os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
    dask.config.set({"distributed.worker.profile.enabled": False})


@pytest.fixture(scope="session")
def country(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("country") / "small"
    make_country(folder)
    return folder


@pytest.fixture(scope="session")
def finished(country: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Shards of 16 cells, so that the country has nine of them."""
    config = small_config(country, tmp_path_factory.mktemp("finished"), ingest__shard=16, ingest__chunk=8)
    run(config, InProcess(), Silent())
    return config


@pytest.fixture
def config(country: Path, tmp_path: Path) -> Config:
    """The small country with an output folder of the test's own."""
    return small_config(country, tmp_path / "out", ingest__shard=16, ingest__chunk=8)


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Granules of an archive, by name."""
    folder = tmp_path_factory.mktemp("made")
    return {name: granule_bytes(folder, name) for name in (*NAMES, OTHER_TILE)}


@pytest.fixture
def service(contents: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EarthdataService]:
    """NASA's Earthdata, faked, with a year of granules; nothing else can be reached."""
    service = EarthdataService({name: contents[name] for name in NAMES})
    with connected(service, monkeypatch, tmp_path):
        yield service
