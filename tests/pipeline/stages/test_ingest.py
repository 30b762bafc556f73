import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from odc.geo import CRS
from shapely.geometry import box, mapping

from pipeline.base.calendar import DAYS_OF_YEAR
from pipeline.base.errors import UserError
from pipeline.base.progress import Silent
from pipeline.cube import layout, stores
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, Tile
from pipeline.sources.simulated.granules import granule_name, write_granule
from pipeline.stages.ingest.stage import ingest
from tests.support.small_country import OUTLINE, TILE, small_config

ROWS, COLUMNS = np.mgrid[0:TILE_PIXELS, 0:TILE_PIXELS]
POSITION = ((7 * ROWS + 3 * COLUMNS) % 101).astype(np.uint8)  # differs between neighbours
GOOD = np.zeros((TILE_PIXELS, TILE_PIXELS), np.uint8)


def write_year(folder: Path, tiles=(TILE,), days=DAYS_OF_YEAR, **layers) -> None:
    """Granules with the given layers at the first date, and fill at the others."""
    folder.mkdir()
    for day in days:
        first = date(2018, 1, 1) + timedelta(days=day - 1)
        for tile in tiles:
            write_granule(folder / granule_name(tile, first), tile, first, layers if day == 1 else {})


def ingested(config, **layers):
    result = ingest(config)
    return result, layout.array(stores.open_to_read(config.cube), "fpar")


def config_for(tmp_path, outline=OUTLINE, **overrides):
    (tmp_path / "outline.geojson").write_text(json.dumps(mapping(outline)))
    return small_config(tmp_path, tmp_path / "out", reference__path=None, **overrides)


def pixel_of_cell(grid, tile=TILE):
    """Row and column in the tile of the upper left pixel of every cell of a sinusoidal grid."""
    a, t = grid.geobox.transform, tile.geobox().transform
    size = round(a.a / t.a)
    row = np.rint((t.f - a.f) / t.a).astype(int) + size * np.arange(grid.shape[0])
    column = np.rint((a.c - t.c) / t.a).astype(int) + size * np.arange(grid.shape[1])
    return row[:, None], column[None, :]


def test_pixels_that_encode_their_position_land_in_their_cell(tmp_path):
    write_year(tmp_path / "granules", Fpar=POSITION, FparLai_QC=GOOD, FparExtra_QC=GOOD)
    config = config_for(tmp_path, ingest__grid="sinusoidal-463m", ingest__shard=64, ingest__chunk=32)
    _, fpar = ingested(config)
    row, column = pixel_of_cell(layout.read_grid(stores.open_to_read(config.cube)))
    np.testing.assert_array_equal(fpar[0], POSITION[row, column])
    assert (fpar[1:] == 255).all()


def test_nested_cells_are_the_mean_of_their_four_pixels(tmp_path):
    write_year(tmp_path / "granules", Fpar=POSITION, FparLai_QC=GOOD, FparExtra_QC=GOOD)
    config = config_for(tmp_path, ingest__grid="sinusoidal-927m")
    _, fpar = ingested(config)
    row, column = pixel_of_cell(layout.read_grid(stores.open_to_read(config.cube)))
    four = [POSITION[row + i, column + j].astype(float) for i in (0, 1) for j in (0, 1)]
    np.testing.assert_array_equal(fpar[0], np.rint(np.mean(four, axis=0)))


def test_1km_cells_are_the_mean_of_the_pixels_whose_centre_they_hold(tmp_path):
    write_year(tmp_path / "granules", Fpar=POSITION, FparLai_QC=GOOD, FparExtra_QC=GOOD)
    config = config_for(tmp_path)
    _, fpar = ingested(config)
    geobox = layout.read_grid(stores.open_to_read(config.cube)).geobox
    x, y = TILE.geobox().transform @ (COLUMNS[1050:1260, 1450:1680] + 0.5, ROWS[1050:1260, 1450:1680] + 0.5)
    x, y = SINUSOIDAL.transformer_to_crs(CRS("EPSG:3035"))(x, y)
    values = POSITION[1050:1260, 1450:1680]
    i = np.floor((geobox.transform.f - y) / 1000).astype(int)
    j = np.floor((x - geobox.transform.c) / 1000).astype(int)
    for cell in [(5, 5), (20, 11), (31, 30), (12, 28)]:
        assert fpar[0][cell] == np.rint(values[(i == cell[0]) & (j == cell[1])].mean())


def test_rejected_cells_are_missing_and_do_not_enter_the_mean(tmp_path):
    cloudy = np.where(COLUMNS % 2 == 0, 3, 0).astype(np.uint8)
    poor = np.where(ROWS % 4 < 2, 2, 0).astype(np.uint8)
    write_year(tmp_path / "granules", Fpar=POSITION, FparLai_QC=poor, FparExtra_QC=cloudy)
    config = config_for(tmp_path, ingest__grid="sinusoidal-927m")
    _, fpar = ingested(config)
    row, column = pixel_of_cell(layout.read_grid(stores.open_to_read(config.cube)))
    assert (column % 2 == 0).all()
    assert (row % 2 == 0).all()
    clear = np.rint((POSITION[row, column + 1].astype(float) + POSITION[row + 1, column + 1]) / 2)
    np.testing.assert_array_equal(fpar[0], np.where(row % 4 < 2, 255, clear))


@pytest.mark.parametrize(("least", "kept"), [(0.5, True), (0.51, False)])
def test_the_minimum_share_decides(tmp_path, least, kept):
    cloudy = np.where(COLUMNS % 2 == 0, 3, 0).astype(np.uint8)
    write_year(tmp_path / "granules", Fpar=POSITION, FparLai_QC=GOOD, FparExtra_QC=cloudy)
    config = config_for(tmp_path, ingest__grid="sinusoidal-927m", ingest__min_valid_share=least)
    _, fpar = ingested(config)
    assert ((fpar[0] != 255) == kept).all()


def test_a_cell_on_a_seam_is_one_average_over_both_tiles(tmp_path):
    """At 42 N the seam of h18v04 and h19v04 runs at 13.46 E; one tile is 40, the other 60."""
    folder, tiles = tmp_path / "granules", (Tile(18, 4), Tile(19, 4))
    folder.mkdir()
    for day in DAYS_OF_YEAR:
        first = date(2018, 1, 1) + timedelta(days=day - 1)
        for tile, value in zip(tiles, (40, 60), strict=True):
            layers = {"Fpar": np.full_like(GOOD, value), "FparLai_QC": GOOD, "FparExtra_QC": GOOD} if day == 1 else {}
            write_granule(folder / granule_name(tile, first), tile, first, layers)
    config = config_for(tmp_path, outline=box(13.3, 41.9, 13.6, 42.1))
    _, fpar = ingested(config)
    row = fpar[0][fpar.shape[1] // 2]
    assert (row != 255).all()
    assert (row[0], row[-1]) == (40, 60)
    assert (np.diff(row.astype(int)) >= 0).all()
    seam = row[(row != 40) & (row != 60)]
    assert len(seam) <= 2  # only cells that the seam crosses mix


def test_a_missing_composite_is_a_date_of_gaps(country, config, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    for path in (tmp_path / "granules").glob("*A2018097*"):
        path.unlink()
    less = small_config(country, tmp_path / "less", ingest__granules=tmp_path / "granules")
    result, fpar = ingested(less)
    _, whole = ingested(config)
    assert result.facts["missing_granules"] == ["A2018097 h18v04"]
    assert fpar.shape == whole.shape
    assert (fpar[12] == 255).all()
    assert not (whole[12] == 255).all()
    np.testing.assert_array_equal(np.delete(fpar[:], 12, axis=0), np.delete(whole[:], 12, axis=0))


def test_a_truncated_granule_is_set_aside_and_named(country, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    bad = next((tmp_path / "granules").glob("*A2018097*"))
    bad.write_bytes(bad.read_bytes()[:5000])
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "granules")
    result, fpar = ingested(config)
    assert "truncated" in result.facts["bad_granules"][bad.name]
    assert (fpar[12] == 255).all()
    assert bad.name in layout.attributes(stores.open_to_read(config.cube))["bad_granules"]


def test_pixels_that_cannot_be_decoded_leave_a_gap_and_are_named(country, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    bad = next((tmp_path / "granules").glob("*A2018097*"))
    import h5py

    with h5py.File(bad) as file:
        (grid,) = file["HDFEOS/GRIDS"].values()
        fpar = grid["Data Fields/Fpar"].id
        stored = fpar.get_chunk_info_by_coord((1150, 0))
    content = bytearray(bad.read_bytes())
    content[stored.byte_offset : stored.byte_offset + stored.size] = b"\xff" * stored.size
    bad.write_bytes(content)
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "granules")
    result, fpar_cube = ingested(config)
    assert "cannot be decoded" in result.facts["bad_granules"][bad.name]
    assert (fpar_cube[12] == 255).all()


def test_too_many_missing_granules_stop_the_run_before_any_work(country, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    for path in sorted((tmp_path / "granules").iterdir())[:12]:
        path.unlink()
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "granules")
    with pytest.raises(UserError, match="12 of the 46 granules"):
        ingest(config)
    assert not config.cube.exists()


def test_the_same_inputs_do_nothing_and_other_content_is_ingested_anew(country, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "granules")
    assert ingest(config).fresh
    before = {path: path.stat().st_mtime_ns for path in config.cube.rglob("*")}
    assert not ingest(config).fresh
    assert before == {path: path.stat().st_mtime_ns for path in config.cube.rglob("*")}
    path = next((tmp_path / "granules").glob("*A2018097*"))
    write_granule(path, TILE, date(2018, 4, 7), {})
    assert ingest(config).fresh
    assert (layout.array(stores.open_to_read(config.cube), "fpar")[12] == 255).all()


def test_an_output_folder_that_cannot_be_written_is_named(country, tmp_path):
    (tmp_path / "out").write_text("a file, not a folder")
    config = small_config(country, tmp_path / "out")
    with pytest.raises(UserError, match="out"):
        ingest(config)


class Heard:
    """A reporter that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)

    track = Silent().track


def test_rules_that_nothing_passes_are_warned_of(country, tmp_path):
    nothing = {"ingest__qc": "custom", "ingest__qc_rules": [{"field": "Aerosol", "accept": [3]}]}
    heard = Heard()
    ingest(small_config(country, tmp_path, **nothing), reporter=heard)
    assert heard.said[-2].endswith("% of the pixels hold a value, 0.0 % of these are accepted")
    assert heard.said[-1].startswith("warning: no observation counts")


def test_of_many_bad_files_ten_are_told_and_the_others_counted(country, tmp_path):
    shutil.copytree(country / "granules", tmp_path / "granules")
    for path in sorted((tmp_path / "granules").iterdir())[:13]:
        path.write_bytes(b"")
    heard = Heard()
    config = small_config(country, tmp_path, ingest__granules=tmp_path / "granules", ingest__max_missing_share=0.5)
    ingest(config, reporter=heard)
    assert sum(text.startswith("set aside: VNP15A2H") for text in heard.said) == 10
    assert any(text.startswith("set aside: 3 more") for text in heard.said)
