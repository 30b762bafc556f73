"""One small country for the whole session, and one finished run of it that tests may read but not change."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.base.progress import Silent
from pipeline.config.config import Config
from pipeline.runtime.executor import InProcess
from pipeline.stages.run import run
from tests.support.downloads import NAMES, OTHER_TILE, connected
from tests.support.earthdata_service import EarthdataService, granule_bytes
from tests.support.small_country import make_country, small_config


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
