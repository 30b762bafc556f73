"""Ingesting again: what changed, added, removed and renamed files do to a cube of two tiles and six shards."""

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.grid.grid import make_grid
from pipeline.grid.sinusoidal import Tile
from pipeline.stages.ingest.footprint import footprint, window_of
from pipeline.stages.ingest.stage import ingest
from pipeline.stages.prepare import prepare
from pipeline.stages.train.stage import train
from tests.support.paths import ROOT
from tests.support.small_country import objects, small_config, spoil_row, stamps, write_patch

WEST, EAST = Tile(18, 4), Tile(19, 4)
SEAM = box(13.3, 41.9, 13.6, 42.1)  # the seam of the two tiles runs through the middle
GRID = make_grid("epsg3035-1km", SEAM, 16, 8)
DAYS = tuple(date(2018, 1, 1) + timedelta(days=8 * k) for k in range(4))
ROWS = slice(1886, 1960)  # of the tiles, that the grid touches, as these columns
COLUMNS = {WEST: slice(2340, 2400), EAST: slice(0, 60)}
SIZE = 74, 60
NAMES = ("fpar", "land_share", "crop_biome")


def write(folder: Path, tile: Tile, day: date, seed: int, produced: str = "") -> Path:
    """A granule of random numbers: values and codes, a quarter of them cloudy."""
    rng = np.random.default_rng(seed)
    fpar = rng.integers(0, 101, SIZE).astype(np.uint8)
    fpar[rng.random(SIZE) < 0.1] = 254
    biome = rng.choice(np.array([1 << 4, 6 << 4], np.uint8), SIZE)
    cloud = np.where(rng.random(SIZE) < 0.25, 3, 0).astype(np.uint8)
    return write_patch(
        folder, tile, day, (ROWS, COLUMNS[tile]), produced, Fpar=fpar, FparLai_QC=biome, FparExtra_QC=cloud
    )


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """Granules of four dates in both tiles, the outline, and the cube of these."""
    folder = tmp_path_factory.mktemp("seam")
    for number, day in enumerate(DAYS):
        for tile in (WEST, EAST):
            write(folder / "granules", tile, day, 10 * number + tile.h)
    (folder / "outline.geojson").write_text(json.dumps(mapping(SEAM)))
    assert ingest(config_of(folder, folder / "out")).fresh
    return folder


def config_of(folder: Path, out: Path, **overrides: object) -> Config:
    settings: dict[str, object] = {
        "reference__path": None, "ingest__shard": 16, "ingest__chunk": 8, "ingest__max_missing_share": 1,
    }  # fmt: skip
    return small_config(folder, out, **(settings | overrides))


@pytest.fixture
def config(original: Path, tmp_path: Path) -> Config:
    """A copy of the granules that a test may change, already ingested."""
    shutil.copytree(original, tmp_path / "in")
    (tmp_path / "in" / "out").rename(tmp_path / "out")
    return config_of(tmp_path / "in", tmp_path / "out")


def granule(config: Config, tile: Tile, day: date) -> Path:
    [path] = config.granules.glob(f"*.A{day:%Y%j}.{tile}.*")
    return path


def state(config: Config) -> tuple[dict[str, str], dict[str, Any]]:
    return objects(config.cube), layout.attributes(stores.open_to_read(config.cube))


def run_from_scratch(config: Config, out: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """What the granules as they are now give in an empty folder."""
    fresh = config_of(config.granules.parent, out)
    assert ingest(fresh).fresh
    return state(fresh)


def shards_of(tile: Tile) -> set[str]:
    """Shards with cells that hold pixels of a tile, as ends of the names of their objects."""
    return {
        f"{shard.i}/{shard.j}"
        for shard in GRID.shards
        if footprint(GRID.shard_geobox(shard), tile.geobox()) is not None
    }


def near(tile: Tile) -> set[str]:
    """Shards whose bounding box, with a margin, meets a tile: some of these hold no pixel of it."""
    return {
        f"{shard.i}/{shard.j}"
        for shard in GRID.shards
        if window_of(GRID.shard_geobox(shard), tile.geobox()) is not None
    }


def rewritten(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> set[str]:
    """Shards with a chunk object that was written anew."""
    changed = {name for name, stamp in after.items() if before.get(name) != stamp and "/c/" in name}
    return {"/".join(name.split("/")[-2:]) for name in changed}


def assert_only_redone(tile: Tile, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> None:
    assert shards_of(tile) <= rewritten(before, after) <= near(tile)


def test_the_country_has_shards_of_one_tile_and_of_both():
    assert len(GRID.shards) == 6
    assert all(near(tile) < {f"{shard.i}/{shard.j}" for shard in GRID.shards} for tile in (WEST, EAST))
    assert shards_of(WEST) - shards_of(EAST)
    assert shards_of(EAST) - shards_of(WEST)
    assert shards_of(WEST) & shards_of(EAST)


@pytest.mark.parametrize("tile", [WEST, EAST])
def test_a_replaced_granule_redoes_the_shards_of_its_tile_and_leaves_the_others_untouched(config, tmp_path, tile):
    before, bytes_before = stamps(config.cube), objects(config.cube)
    write(config.granules, tile, DAYS[1], 99)
    assert ingest(config).fresh
    assert_only_redone(tile, before, stamps(config.cube))
    assert objects(config.cube) != bytes_before
    assert state(config) == run_from_scratch(config, tmp_path / "fresh")


def test_a_new_granule_redoes_the_shards_of_its_tile(config, tmp_path):
    before = stamps(config.cube)
    write(config.granules, WEST, DAYS[-1] + timedelta(days=8), 98)
    result = ingest(config)
    assert result.facts["granules"] == 9
    assert_only_redone(WEST, before, stamps(config.cube))
    assert (layout.array(stores.open_to_read(config.cube), "fpar")[4] != 255).any()
    assert state(config) == run_from_scratch(config, tmp_path / "fresh")


def test_a_newer_production_counts_and_redoes_the_shards_of_its_tile(config, tmp_path):
    before = stamps(config.cube)
    write(config.granules, EAST, DAYS[2], 97, "2024001000000")
    assert ingest(config).fresh
    assert_only_redone(EAST, before, stamps(config.cube))
    assert state(config) == run_from_scratch(config, tmp_path / "fresh")


def test_a_removed_granule_redoes_its_shards_and_becomes_a_date_of_gaps(config, tmp_path):
    before = stamps(config.cube)
    granule(config, WEST, DAYS[1]).unlink()
    result = ingest(config)
    assert "A2018009 h18v04" in result.facts["missing_granules"]
    assert_only_redone(WEST, before, stamps(config.cube))
    fpar = layout.array(stores.open_to_read(config.cube), "fpar")[:]
    assert (fpar[1, :, 0] == 255).all()
    assert (fpar[1, :, -1] != 255).any()
    assert state(config) == run_from_scratch(config, tmp_path / "fresh")


def test_the_same_inputs_write_nothing_at_all(config):
    before = stamps(config.cube)
    assert not ingest(config).fresh
    assert stamps(config.cube) == before


def test_touching_files_writes_nothing(config):
    before = stamps(config.cube)
    for path in config.granules.iterdir():
        os.utime(path, (1, 1))
    assert not ingest(config).fresh
    assert stamps(config.cube) == before


def test_renamed_files_with_the_same_content_write_nothing(config):
    before = stamps(config.cube)
    for path in list(config.granules.iterdir()):
        path.rename(path.with_name(f"{path.name.rpartition('.')[0].rpartition('.')[0]}.2025001123456.h5"))
    assert not ingest(config).fresh
    assert stamps(config.cube) == before


def test_granules_in_another_folder_write_nothing(config, tmp_path):
    before = stamps(config.cube)
    config.granules.rename(tmp_path / "elsewhere")
    elsewhere = config_of(tmp_path / "in", config.out, ingest__granules=tmp_path / "elsewhere")
    assert not ingest(elsewhere).fresh
    assert stamps(config.cube) == before


def test_two_granules_that_swap_their_dates_are_other_inputs(config, tmp_path):
    one, other = (granule(config, EAST, day) for day in DAYS[:2])
    first, second = (write(tmp_path / str(seed), EAST, day, seed) for day, seed in ((DAYS[0], 29), (DAYS[1], 19)))
    fpar = layout.array(stores.open_to_read(config.cube), "fpar")[:]
    first.replace(one)
    second.replace(other)
    assert ingest(config).fresh
    assert (layout.array(stores.open_to_read(config.cube), "fpar")[:2] != fpar[:2]).any()
    assert state(config) == run_from_scratch(config, tmp_path / "fresh")


@pytest.mark.parametrize(
    "other",
    [
        {"ingest__qc": "loose"},
        {"ingest__min_valid_share": 0.9},
        {"ingest__grid": "sinusoidal-927m"},
        {"ingest__shard": 32},
        {"ingest__calendar": "monthly"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_method_makes_a_new_cube_and_the_old_one_the_old_cube(config, other):
    before = state(config)
    changed = config_of(config.granules.parent, config.out, **other)
    assert ingest(changed).fresh
    assert objects(config.cube) != before[0]
    assert not ingest(changed).fresh
    assert ingest(config).fresh
    assert state(config) == before


def test_a_limit_on_what_may_be_missing_is_no_other_method(config):
    before = stamps(config.cube)
    granted = config_of(config.granules.parent, config.out, ingest__max_missing_share=0.99)
    assert not ingest(granted).fresh
    assert stamps(config.cube) == before


def test_the_old_content_gives_the_old_bytes(config):
    before = state(config)
    path = granule(config, WEST, DAYS[0])
    kept = path.read_bytes()
    path.unlink()
    write(config.granules, EAST, DAYS[0], 96, "2024001000000")
    assert ingest(config).fresh
    assert state(config) != before
    path.write_bytes(kept)
    next(config.granules.glob("*.2024001000000.h5")).unlink()
    assert ingest(config).fresh
    assert state(config) == before


def test_after_new_granules_the_cube_counts_as_unprepared_until_prepare_has_run(config, tmp_path):
    assert prepare(config).fresh
    assert not prepare(config).fresh
    write(config.granules, WEST, DAYS[1], 95)
    assert ingest(config).fresh
    with pytest.raises(UserError, match="sitscube prepare"):
        stores.require(config.cube, "prepare", "prepare")
    with pytest.raises(UserError, match="sitscube prepare"):
        train(config)
    assert prepare(config).fresh
    assert layout.attributes(stores.open_to_read(config.cube))["complete"]
    fresh = config_of(config.granules.parent, tmp_path / "fresh")
    ingest(fresh)
    prepare(fresh)
    assert objects(config.cube) == objects(fresh.cube)
    assert not ingest(config).fresh
    assert not prepare(config).fresh


KILLED = """
import sys
from pathlib import Path
import time
from tests.support.small_country import small_config
from pipeline.stages.ingest import stage as ingest
from pipeline.cube import stores

write = stores.write_shard
def slowly(*arguments):
    write(*arguments)
    print("wrote", flush=True)
    time.sleep(0.1)
stores.write_shard = slowly
settings = {"reference__path": None, "ingest__shard": 16, "ingest__chunk": 8, "ingest__max_missing_share": 1}
ingest.ingest(small_config(Path(sys.argv[1]), Path(sys.argv[2]), **settings))
"""


def kill_after(config: Config, written: int) -> None:
    """Ingest in a process of its own that is killed once it has written so many arrays of shards."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(config.granules.parent), str(config.out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    assert process.stdout is not None
    for _ in range(written):
        assert process.stdout.readline() == b"wrote\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def assert_unfinished(config: Config) -> None:
    """No reader takes the cube for whole, nor what later stages made of its last state for current."""
    assert not layout.attributes(stores.open_to_read(config.cube))["complete"]
    with pytest.raises(UserError, match="sitscube ingest"):
        prepare(config)


def test_killed_while_it_ingests_again_and_resumed_it_ends_with_the_bytes_of_a_fresh_run(config, tmp_path):
    prepare(config)
    write(config.granules, WEST, DAYS[1], 94)
    kill_after(config, len(NAMES) + 1)
    assert_unfinished(config)
    with pytest.raises(UserError, match="sitscube prepare"):
        train(config)
    before = stamps(config.cube)
    assert ingest(config).fresh
    assert 0 < len(rewritten(before, stamps(config.cube))) < len(near(WEST))
    assert prepare(config).fresh
    fresh = config_of(config.granules.parent, tmp_path / "fresh")
    ingest(fresh)
    prepare(fresh)
    assert objects(config.cube) == objects(fresh.cube)
    assert not ingest(config).fresh


@pytest.mark.parametrize("written", [pytest.param(1, marks=pytest.mark.slow), len(NAMES) + 2])
def test_killed_while_it_ingests_again_and_back_to_the_old_files_it_ends_with_the_old_bytes(config, written):
    before = state(config)
    path = granule(config, EAST, DAYS[1])
    kept = path.read_bytes()
    write(config.granules, EAST, DAYS[1], 93)
    kill_after(config, written)
    assert_unfinished(config)
    path.write_bytes(kept)
    assert ingest(config).fresh
    assert state(config) == before
    assert not ingest(config).fresh


def test_killed_in_a_new_method_and_back_to_the_old_one_it_ends_with_the_old_bytes(config, monkeypatch):
    """Faults between any two writes of objects, as by a full disk."""
    before = state(config)
    other = config_of(config.granules.parent, config.out, ingest__qc="loose")
    write_shard, left = stores.write_shard, iter(range(5))

    def fail_in_the_end(*arguments: Any) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        write_shard(*arguments)

    monkeypatch.setattr(stores, "write_shard", fail_in_the_end)
    with pytest.raises(UserError, match="No space left on device"):
        ingest(other)
    assert_unfinished(config)
    monkeypatch.undo()
    assert ingest(config).fresh
    assert state(config) == before


def test_a_granule_that_turns_bad_leaves_a_gap_and_mended_gives_the_old_bytes(config, tmp_path):
    """Back to the old content, though what was found bad in between is still remembered."""
    before = state(config)
    path = granule(config, WEST, DAYS[2])
    kept = path.read_bytes()
    spoil_row(path, 1920)
    result = ingest(config)
    assert "cannot be decoded" in result.facts["bad_granules"][path.name]
    assert (layout.array(stores.open_to_read(config.cube), "fpar")[2, :, 0] == 255).all()
    assert objects(config.cube) == run_from_scratch(config, tmp_path / "fresh")[0]
    path.write_bytes(kept)
    assert ingest(config).facts["bad_granules"] == {}
    assert objects(config.cube) == before[0]
    assert layout.attributes(stores.open_to_read(config.cube))["quality"] == before[1]["quality"]
