"""Averages over valid observations: shares of land, coasts, several looks in a period, against plain loops."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import mapping

from pipeline.base.channel import Channel
from pipeline.cube import layout, stores
from pipeline.sources.source import Decoded
from pipeline.sources.viirs.codes import STATIC_CODES
from pipeline.stages.ingest.averaging import ShardAverage
from pipeline.stages.ingest.footprint import Footprint
from pipeline.stages.ingest.stage import ingest
from tests.support.small_country import OUTLINE, TILE, small_config, write_patch

WINDOW = slice(1060, 1240), slice(1480, 1680)  # of the tile: more than the country
SIZE = 180, 200
FIRST = date(2018, 1, 1)
CROP, WOOD = 1 << 4, 6 << 4
GREEN = Channel("green", "green", "1", 0.01, 0.0, "uint8", 255, (0, 100))
HEIGHT = Channel("height", "height", "m", 1.0, 0.0, "int16", -32768, (-3000, 3000))


@dataclass(frozen=True)
class Look:
    """One date of the tile: whole layers, fill outside the window."""

    fpar: np.ndarray
    qc: np.ndarray
    extra: np.ndarray

    @classmethod
    def of(cls, fpar: Any, qc: Any = CROP, extra: Any = 0) -> "Look":
        layers = []
        for numbers in (fpar, qc, extra):
            whole = np.full((2400, 2400), 255, np.uint8)
            whole[WINDOW] = numbers
            layers.append(whole)
        return cls(*layers)

    @property
    def valid(self) -> np.ndarray:
        """By the standard policy: main method, clear or probably clear, no shadow, cirrus or snow."""
        clean = (self.extra & 0b11) <= 1
        return (self.fpar <= 100) & ((self.qc & 0b111) <= 1) & clean & ((self.extra & 0b1001100) == 0)

    @property
    def static(self) -> np.ndarray:
        return (self.fpar >= 250) & (self.fpar <= 254)

    @property
    def crop(self) -> np.ndarray:
        return (self.fpar <= 100) & np.isin(self.qc >> 4, (1, 3))


def ingest_looks(tmp_path: Path, looks: dict[date, Look], **overrides: object) -> tuple[dict[str, np.ndarray], Any]:
    """Granules of the looks on a grid whose cells hold four pixels of the tile each, and a function that sums these."""
    (tmp_path / "outline.geojson").write_text(json.dumps(mapping(OUTLINE)))
    for day, look in looks.items():
        layers = {"Fpar": look.fpar, "FparLai_QC": look.qc, "FparExtra_QC": look.extra}
        write_patch(tmp_path / "granules", TILE, day, WINDOW, **{name: layer[WINDOW] for name, layer in layers.items()})
    settings: dict[str, object] = {
        "reference__path": None, "ingest__grid": "sinusoidal-927m", "ingest__max_missing_share": 1,
        "ingest__shard": 32, "ingest__chunk": 32,
    }  # fmt: skip
    config = small_config(tmp_path, tmp_path / "out", **(settings | overrides))
    ingest(config)
    cube = stores.open_to_read(config.cube)
    grid = layout.read_grid(cube)
    a, t = grid.geobox.transform, TILE.geobox().transform
    row, column = round((t.f - a.f) / t.a), round((a.c - t.c) / t.a)
    ny, nx = grid.shape

    def cells(pixels: np.ndarray) -> np.ndarray:
        inner = pixels[row : row + 2 * ny, column : column + 2 * nx].astype(np.int64)
        return np.asarray(inner.reshape(ny, 2, nx, 2).sum(axis=(1, 3)))

    return {name: layout.array(cube, name)[:] for name in ("fpar", "land_share", "crop_biome")}, cells


def random_look(seed: int) -> Look:
    """Values, all codes, both biomes and every quality, at random."""
    rng = np.random.default_rng(seed)
    codes = np.array([249, 250, 251, 252, 253, 254, 255], np.uint8)
    fpar = np.where(rng.random(SIZE) < 0.6, rng.integers(0, 101, SIZE), rng.choice(codes, SIZE)).astype(np.uint8)
    qc = (rng.integers(0, 5, SIZE) | (rng.integers(0, 13, SIZE) << 4)).astype(np.uint8)
    qc = np.where(rng.random(SIZE) < 0.5, CROP, qc).astype(np.uint8)
    extra = np.where(rng.random(SIZE) < 0.3, rng.integers(0, 128, SIZE), 0).astype(np.uint8)
    return Look.of(fpar, qc, extra)


def rounded(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Means to the nearest whole number, 255 where there is none."""
    return np.where(number > 0, np.rint(total / np.maximum(number, 1)), 255).astype(np.uint8)


@pytest.mark.parametrize("least", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_cells_are_the_mean_of_their_valid_pixels_where_these_reach_their_share_of_the_land(tmp_path, least):
    looks = {FIRST: random_look(1), FIRST + timedelta(days=8): random_look(2)}
    found, cells = ingest_looks(tmp_path, looks, ingest__min_valid_share=least)
    for period, look in enumerate(looks.values()):
        number, total = cells(look.valid), cells(np.where(look.valid, look.fpar, 0))
        enough = (number > 0) & (number >= least * (4 - cells(look.static)))
        np.testing.assert_array_equal(found["fpar"][period], np.where(enough, rounded(total, number), 255))
        assert enough.any()
        assert not enough.all()
    assert (found["fpar"][2:] == 255).all()


def test_land_share_and_crop_biome_are_the_shares_of_all_dates(tmp_path):
    looks = {FIRST + timedelta(days=8 * k): random_look(k) for k in range(3)}
    found, cells = ingest_looks(tmp_path, looks)
    static, crop = (sum(cells(getattr(look, name)) for look in looks.values()) for name in ("static", "crop"))
    held = sum(cells(look.fpar <= 100) for look in looks.values())
    np.testing.assert_array_equal(found["land_share"], np.rint(100 * (12 - static) / 12))
    np.testing.assert_array_equal(found["crop_biome"], rounded(100 * crop, held))


@pytest.mark.parametrize("code", STATIC_CODES)
def test_a_cell_at_a_coast_is_the_average_of_its_land_whatever_share_must_be_valid(tmp_path, code):
    """Every second column is of a cover without values, and three of the four pixels of every fourth cell."""
    rows, columns = np.mgrid[WINDOW]
    covered = (columns % 2 == 0) | ((columns % 8 == 1) & (rows % 2 == 0))
    fpar = np.where(covered, code, (rows + columns) % 100)
    look = Look.of(fpar)
    found, cells = ingest_looks(tmp_path, {FIRST: look}, ingest__min_valid_share=1.0)
    assert set(np.unique(found["land_share"])) == {25, 50}
    np.testing.assert_array_equal(
        found["fpar"][0], rounded(cells(np.where(look.valid, look.fpar, 0)), cells(look.valid))
    )
    assert (found["fpar"][0] <= 100).all()


@pytest.mark.parametrize("code", [249, 255])
@pytest.mark.parametrize(("least", "kept"), [(0.5, True), (0.51, False)])
def test_pixels_without_a_value_on_this_date_count_against_the_share(tmp_path, code, least, kept):
    columns = np.mgrid[WINDOW][1]
    found, _ = ingest_looks(
        tmp_path, {FIRST: Look.of(np.where(columns % 2 == 0, code, 60))}, ingest__min_valid_share=least
    )
    assert ((found["fpar"][0] == 60) == kept).all()
    assert ((found["fpar"][0] == 255) != kept).all()
    assert (found["land_share"] == 100).all()


def test_a_cell_without_land_is_never_observed_and_has_a_land_share_of_zero(tmp_path):
    columns = np.mgrid[WINDOW][1]
    sea = columns % 4 < 2
    found, cells = ingest_looks(tmp_path, {FIRST: Look.of(np.where(sea, 254, 50))}, ingest__min_valid_share=0.0)
    whole = np.zeros((2400, 2400), bool)
    whole[WINDOW] = sea
    at_sea = cells(whole) == 4
    assert at_sea.any()
    np.testing.assert_array_equal(found["land_share"], np.where(at_sea, 0, 100))
    np.testing.assert_array_equal(found["fpar"][0], np.where(at_sea, 255, 50))
    np.testing.assert_array_equal(found["crop_biome"], np.where(at_sea, 255, 100))


def test_a_month_averages_all_valid_looks_of_its_eight_day_composites(tmp_path):
    """January has four composites; those of the 2nd of February on are another month's."""
    looks = {FIRST + timedelta(days=8 * k): random_look(20 + k) for k in range(6)}
    found, cells = ingest_looks(tmp_path, looks, ingest__calendar="monthly", ingest__min_valid_share=0.0)
    assert len(found["fpar"]) == 12
    for month in (1, 2):
        of_month = [look for day, look in looks.items() if day.month == month]
        assert len(of_month) == (4, 2)[month - 1]
        number = sum(cells(look.valid) for look in of_month)
        total = sum(cells(np.where(look.valid, look.fpar, 0)) for look in of_month)
        np.testing.assert_array_equal(found["fpar"][month - 1], rounded(total, number))
    assert (found["fpar"][2:] == 255).all()


def whole_footprint(cells: np.ndarray) -> Footprint:
    return Footprint(slice(0, 1), slice(0, cells.size), np.arange(cells.size), cells)


def test_a_share_that_is_reached_exactly_is_reached_whatever_its_decimals_round_to():
    """0.07 times 100 is more than 7 in binary numbers."""
    cells = np.repeat(np.arange(100), 100)
    where = whole_footprint(cells)
    valid = np.tile(np.arange(100), 100) <= cells  # cell k has k + 1 valid pixels of 100
    for percent in range(1, 101):
        average = ShardAverage((10, 10), (GREEN,), 1, percent / 100, np.full(100, 100))
        average.add(where, Decoded({"green": np.full(cells.size, 7, np.uint8)}, {"green": valid}))
        average.end_period(0)
        known = average.arrays()["green"].ravel() == 7
        assert known.tolist() == [cell + 1 >= percent for cell in range(100)], percent


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[np.ndarray], list[list[tuple[int, Decoded]]], float, tuple[int, int]]:
    """Footprints of a shard, and for every period the scenes: which footprint, and what its pixels say."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    n = shape[0] * shape[1]
    footprints = [rng.integers(0, n, draw(st.integers(1, 12))) for _ in range(draw(st.integers(1, 3)))]
    with_land_cover = draw(st.booleans())

    def pixels(size: int) -> Decoded:
        static = rng.random(size) < 0.3
        observed = (rng.random(size) < 0.7) & ~static
        values = {"green": rng.integers(0, 101, size).astype(np.uint8), "height": rng.integers(-3000, 3001, size)}
        valid = {name: observed & (rng.random(size) < rng.choice([0, 0.5, 1])) for name in values}
        counts = {"observed": int(observed.sum())}
        if not with_land_cover:
            return Decoded(values, valid, counts=counts)
        return Decoded(values, valid, static, observed & (rng.random(size) < 0.5), observed, counts)

    periods = [
        [(which, pixels(footprints[which].size)) for which in draw(st.lists(st.sampled_from(range(len(footprints)))))]
        for _ in range(draw(st.integers(1, 3)))
    ]
    return footprints, periods, draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), shape


def by_loops(
    footprints: list[np.ndarray], periods: list[list[tuple[int, Decoded]]], least: float, n: int
) -> dict[str, list[Any]]:
    """The same pixel by pixel, in whole numbers and fractions."""
    capacity = Counter(int(cell) for cells in footprints for cell in cells)
    expected: dict[str, list[Any]] = {"green": [], "height": []}
    looks, static_looks, observed, crop = Counter(), Counter(), Counter(), Counter()  # type: ignore[var-annotated]
    for scenes in periods:
        last = {which: pixels.static for which, pixels in scenes}  # of the last look of each place
        static = Counter(
            int(cell)
            for which, cover in last.items()
            for pixel, cell in enumerate(footprints[which])
            if cover is not None and cover[pixel]
        )
        for channel in (GREEN, HEIGHT):
            row = []
            for cell in range(n):
                seen = [
                    int(pixels.values[channel.name][pixel])
                    for which, pixels in scenes
                    for pixel, where in enumerate(footprints[which])
                    if where == cell and pixels.valid[channel.name][pixel]
                ]
                land = capacity[cell] - static[cell]
                enough = seen and len(seen) >= Fraction(least) * land
                row.append(round(Fraction(sum(seen), len(seen))) if enough else channel.missing)
            expected[channel.name].append(row)
        for which, pixels in scenes:
            for pixel, cell in enumerate(footprints[which].tolist()):
                looks[cell] += 1
                if pixels.static is not None and pixels.crop is not None and pixels.observed is not None:
                    static_looks[cell] += int(pixels.static[pixel])
                    observed[cell] += int(pixels.observed[pixel])
                    crop[cell] += int(pixels.crop[pixel])
    for name, part, whole in (("land_share", looks - static_looks, looks), ("crop_biome", crop, observed)):
        expected[name] = [round(Fraction(100 * part[k], whole[k])) if whole[k] else 255 for k in range(n)]
    return expected


@settings(deadline=None, max_examples=150)
@given(cases())
def test_averages_are_those_of_plain_loops_over_pixels(case):
    footprints, periods, least, shape = case
    n = shape[0] * shape[1]
    capacity = sum(np.bincount(cells, minlength=n) for cells in footprints)
    average = ShardAverage(shape, (GREEN, HEIGHT), len(periods), least, capacity)
    places = [whole_footprint(cells) for cells in footprints]
    for index, scenes in enumerate(periods):
        for which, pixels in scenes:
            average.add(places[which], pixels)
        average.end_period(index)
    found, expected = average.arrays(), by_loops(footprints, periods, least, n)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        lead = (len(periods),) if name in ("green", "height") else ()
        assert found[name].shape == (*lead, *shape)
        assert found[name].reshape(*lead, n).tolist() == values
    assert found["green"].dtype == np.uint8
    assert found["height"].dtype == np.int16
    assert average.counts["observed"] == sum(p.counts["observed"] for scenes in periods for _, p in scenes)
