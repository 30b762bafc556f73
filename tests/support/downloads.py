"""Common parts of tests of the download: a region, a configuration, a listener, and a network with one service."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import responses
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.config.config import load_config
from pipeline.stages.download.stage import download
from tests.support.earthdata_service import METADATA, TOKEN, EarthdataService, name_of

NAMES = tuple(name_of(day=day) for day in (1, 9, 17))
OTHER_TILE = name_of(day=1, tile="h19v04")
IN_ONE_TILE = box(9.0, 45.0, 9.5, 45.4)


@contextmanager
def connected(service: EarthdataService, monkeypatch, tmp_path) -> Iterator[responses.RequestsMock]:
    """Connect the service to Earthdata's addresses, with a token in the environment; nothing else answers."""
    for name in ("EARTHDATA_USERNAME", "EARTHDATA_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        service.attach(mock)
        yield mock
        assert not [call for call in mock.calls if str(call.request.url).startswith(METADATA)]


class Listener:
    """A reporter that keeps all that a stage reports."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.notes: dict[str, list[str]] = {}
        self.totals: dict[str, int] = {}

    def message(self, text: str) -> None:
        self.messages.append(text)

    @contextmanager
    def track(self, name: str, total: int, pixels: int | None = None):
        self.totals[name], self.notes[name] = total, []
        yield self

    def advance(self, steps: int = 1, note: str = "", pixels: int = 0) -> None:
        list(self.notes.values())[-1].append(note)


def config_for(tmp_path: Path, outline=IN_ONE_TILE, **overrides):
    path = tmp_path / "outline.geojson"
    path.write_text(json.dumps(mapping(outline)))
    settings = {"year": 2018, "out": tmp_path / "out", "region__outline": path, "download__enabled": True}
    return load_config(**(settings | overrides))


def fetch(config, listener=None, pauses=None, **parts):
    pauses = [] if pauses is None else pauses
    return download(config, None, listener, **({"sleep": pauses.append} | parts))


def files_in(config) -> dict[str, bytes]:
    """Read everything in the folder, hidden files and folders too."""
    return {path.name: path.read_bytes() if path.is_file() else b"" for path in config.granules.iterdir()}


def failure(config, **parts) -> str:
    with pytest.raises(UserError) as caught:
        fetch(config, **parts)
    return str(caught.value)
