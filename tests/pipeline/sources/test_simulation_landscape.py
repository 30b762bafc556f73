"""The simulated country: its vegetation, seasons and clouds, and their effect on the layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo import CRS
from shapely.geometry import box

from pipeline.base.calendar import DAYS_OF_YEAR, composite_dates
from pipeline.config.sections import DATA
from pipeline.grid.grid import make_grid
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import Tile
from pipeline.sources.simulated.composition import POINTS, Composition, compose
from pipeline.sources.simulated.cropmap import map_geobox, map_strip, strips
from pipeline.sources.simulated.draws import generator, key, normal, smooth_fields, uniform
from pipeline.sources.simulated.geography import Places, geography
from pipeline.sources.simulated.landscape import parcels_at
from pipeline.sources.simulated.observation import empty_layers, observe
from pipeline.sources.simulated.vegetation import CODES, CURVE_INDEX, CURVES, FIRST_DAY, fpar_table
from pipeline.sources.simulated.weather import weather
from pipeline.sources.viirs.codes import QC_FIELDS
from pipeline.sources.viirs.granules import ViirsGranules, policy_rules

READER = ViirsGranules(Path(), 2018, "standard", policy_rules("standard"))
SEED, YEAR = 2018, 2018
EUCROPMAP = {0, 100, 211, 212, 213, 216, 217, 231, 232, 233, 250, 300, 500, 600, 700}
WINTER, SUMMER = (211, 212, 213, 232), (216, 217, 231, 233)
ROWS = slice(1100, 1160)  # of h18v04: from the Alps of Piedmont over the rice plain to Lombardy and Veneto


def accepted(layers: dict[str, np.ndarray]) -> np.ndarray:
    """Return which pixels have an observation by the standard policy."""
    return READER.decode({name: layer.ravel() for name, layer in layers.items()}).valid["fpar"]


def bits(field: str, layers: dict[str, np.ndarray]) -> np.ndarray:
    return QC_FIELDS[field].of(layers[QC_FIELDS[field].layer])


@pytest.fixture(scope="module")
def band() -> Composition:
    pixels = compose(Tile(18, 4), ROWS, read_outline(DATA / "italy_ne10m.geojson"), SEED, YEAR)
    assert pixels is not None
    return pixels


@pytest.fixture(scope="module")
def year(band: Composition) -> list[dict[str, np.ndarray]]:
    """Return the six layers of the band's land pixels, date by date."""
    dates = []
    for step in range(len(DAYS_OF_YEAR)):
        layers = empty_layers(ROWS.stop - ROWS.start, 2400)
        observe(band, layers, SEED, YEAR, step, (18, 4, ROWS.start))
        dates.append({name: layer.reshape(-1)[band.pixel] for name, layer in layers.items()})
    return dates


def codes_around(longitude: float, latitude: float, year: int = YEAR, seed: int = SEED, half: int = 7500) -> np.ndarray:
    """Return crop codes on a 100 m lattice in a square around a place."""
    x0, y0 = CRS("EPSG:4326").transformer_to_crs(CRS("EPSG:3035"))(longitude, latitude)
    x, y = np.meshgrid(x0 + np.arange(-half, half, 100), y0 + np.arange(-half, half, 100))
    return CODES[parcels_at(x.ravel(), y.ravel(), seed, year).curve]


@given(st.integers(-(2**62), 2**62), st.integers(0, 10**6))
def test_draws_depend_on_key_and_stream_alone(number: int, stream: int) -> None:
    keys = key(np.array([number, number + 1, number]))
    draw = uniform(keys, stream)
    assert draw[0] == draw[2] != draw[1]
    assert ((draw >= 0) & (draw < 1)).all()
    assert np.isfinite(normal(keys, stream)).all()


def test_draws_are_spread_as_they_should_be() -> None:
    keys = key(7, np.arange(100_000))
    assert np.histogram(uniform(keys, 0), bins=10, range=(0, 1))[0].tolist() == pytest.approx([10_000] * 10, rel=0.05)
    assert normal(keys, 1).std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(uniform(keys, 0), uniform(keys, 1))[0, 1] == pytest.approx(0, abs=0.02)


def test_smooth_fields_have_unit_variance_and_are_smooth() -> None:
    fields = smooth_fields(generator(1), 40, (64, 65), {4.0: 1.0})
    assert fields.var() == pytest.approx(1, abs=0.15)
    neighbours = np.corrcoef(fields[:, :, 1:].ravel(), fields[:, :, :-1].ravel())[0, 1]
    assert neighbours > 0.95
    assert abs(np.corrcoef(fields[:, :, 20:].ravel(), fields[:, :, :-20].ravel())[0, 1]) < 0.15


def test_bilinear_places_are_exact_on_linear_fields() -> None:
    country = geography(SEED)
    rows, columns = np.indices(country.height.shape)
    places = Places(np.array([10.25, 99.5], np.float32), np.array([20.75, 3.125], np.float32))
    np.testing.assert_allclose(places.sample(2 * rows + columns), [41.25, 202.125])


@pytest.mark.parametrize(
    ("longitude", "latitude", "expected"),
    [
        (8.4, 45.32, 217),
        (15.6, 41.45, 212),
        (10.2, 45.2, 216),
        (9.19, 45.46, 100),
        (7.6, 45.95, 600),
        (11.8, 43.82, 300),
    ],
)
def test_regions_grow_what_they_are_known_for(longitude: float, latitude: float, expected: int) -> None:
    """Rice in Vercelli, durum wheat in the Tavoliere, maize by Brescia; Milan, Monte Rosa, the woods of Casentino."""
    codes, counts = np.unique(codes_around(longitude, latitude), return_counts=True)
    assert codes[counts.argmax()] == expected


def test_lakes_are_water_and_lie_lower_than_mountains() -> None:
    assert (codes_around(10.65, 45.55, half=1500) == 700).all()  # Garda
    country = geography(SEED)
    assert country.height.max() > 3000
    assert set(codes_around(12.1, 43.14, half=1000).tolist()) == {700}  # Trasimeno


def test_crops_rotate_and_everything_else_stays() -> None:
    one, other = codes_around(11.0, 45.1), codes_around(11.0, 45.1, year=YEAR + 1)
    arable = np.isin(one, (*WINTER, *SUMMER, 250))
    np.testing.assert_array_equal(arable, np.isin(other, (*WINTER, *SUMMER, 250)))
    np.testing.assert_array_equal(one[~arable], other[~arable])
    assert 0.4 < (one != other)[arable].mean() < 0.95


def test_another_seed_is_another_country() -> None:
    one, other = codes_around(11.0, 45.1), codes_around(11.0, 45.1, seed=SEED + 1)
    assert (one != other).mean() > 0.4


def test_a_point_does_not_depend_on_its_company() -> None:
    x = np.linspace(4.2e6, 4.5e6, 500)
    y = np.linspace(2.3e6, 2.5e6, 500)
    together = parcels_at(x, y, SEED, YEAR)
    alone = [parcels_at(x[n : n + 1], y[n : n + 1], SEED, YEAR) for n in range(0, 500, 50)]
    assert [int(one.curve[0]) for one in alone] == together.curve[::50].tolist()
    assert [float(one.shift(YEAR)[0]) for one in alone] == together.shift(YEAR)[::50].tolist()


def test_winter_crops_peak_in_spring_and_summer_crops_in_summer() -> None:
    table = fpar_table()[:, 1 - FIRST_DAY : 366 - FIRST_DAY]
    peak = {curve.name: int(row.argmax()) + 1 for curve, row in zip(CURVES, table, strict=True)}
    for curve in CURVES:
        if curve.code in WINTER:
            assert 100 < peak[curve.name] < 150, curve.name
        if curve.code in SUMMER:
            assert 175 < peak[curve.name] < 235, curve.name
    assert ((table >= 0) & (table <= 100)).all()
    july = table[:, 195]
    assert july[CURVE_INDEX["pasture, dry"]] < july[CURVE_INDEX["pasture, humid"]]  # southern summers are dry


def test_seasons_are_later_in_the_north_and_differ_from_field_to_field(band: Composition) -> None:
    maize, wheat = (np.array([curve.code == code for curve in CURVES]) for code in (216, 211))
    whole = band.points == POINTS
    spread = band.shift[whole & maize[band.curve]].std()
    assert 4 < spread < 15  # the mean of the pixel's fields scatters less than a field
    south = compose(Tile(19, 4), slice(2000, 2060), read_outline(DATA / "italy_ne10m.geojson"), SEED, YEAR)
    assert south is not None
    durum = np.array([curve.code == 212 for curve in CURVES])
    assert band.shift[wheat[band.curve]].mean() > south.shift[durum[south.curve]].mean() + 5


def test_pixels_are_mixed_and_shares_add_up(band: Composition) -> None:
    np.testing.assert_array_equal(np.add.reduceat(band.points.astype(int), band.first), POINTS)
    pieces = np.diff(np.append(band.first, band.curve.size))
    assert pieces.mean() > 2.5
    assert (pieces == 1).any()


def test_pieces_of_some_pixels_are_those_of_the_whole(band: Composition) -> None:
    some = band.some(100, 300)
    np.testing.assert_array_equal(some.pixel, band.pixel[100:300])
    np.testing.assert_array_equal(np.add.reduceat(some.points.astype(int), some.first), POINTS)
    np.testing.assert_array_equal(some.curve, band.curve[band.first[100] : band.first[300]])


def test_clear_looks_show_the_true_fpar(band: Composition) -> None:
    """Where one curve fills a pixel, and no cloud is near, a granule has that curve's value and little noise."""
    plain = replace(
        band,
        shift=np.zeros_like(band.shift),
        vigour=np.ones_like(band.vigour),
        soil=np.zeros_like(band.soil),
        height=np.zeros_like(band.height),
    )
    layers = empty_layers(ROWS.stop - ROWS.start, 2400)
    observe(plain, layers, SEED, YEAR, 27, (0,))
    here = {name: layer.reshape(-1)[band.pixel] for name, layer in layers.items()}
    whole = band.points[band.first] == POINTS
    clear = accepted(here) & whole
    truth = fpar_table()[band.curve[band.first], DAYS_OF_YEAR[27] + 4 - FIRST_DAY]
    error = here["Fpar"][clear].astype(float) - truth[clear]
    assert clear.sum() > 500
    assert abs(np.median(error)) < 1
    assert np.percentile(np.abs(error), 80) < 6


def test_codes_and_quality_agree(band: Composition, year: list[dict[str, np.ndarray]]) -> None:
    for layers in year[::9]:
        fpar, scf, extra = layers["Fpar"], bits("SCF_QC", layers), layers["FparExtra_QC"]
        coded = fpar > 100
        assert set(fpar[coded].tolist()) <= {249, 250, 252, 253, 254, 255}
        np.testing.assert_array_equal(scf == 4, coded)
        for name in ("Lai", "FparStdDev", "LaiStdDev"):
            np.testing.assert_array_equal(layers[name][coded], fpar[coded])
        backup = np.isin(scf, (2, 3))
        for name in ("FparStdDev", "LaiStdDev"):
            np.testing.assert_array_equal(layers[name] == 248, backup)
        assert (layers["Lai"][~coded] <= 70).all()
        assert (np.diff(layers["Lai"][~coded][np.argsort(fpar[~coded], kind="stable")].astype(int)) >= 0).all()
        static = band.static > 0
        np.testing.assert_array_equal(fpar[static], band.static[static])
        assert (fpar[~static] > 100).mean() < 0.04  # over land FPAR is hardly ever at a code
        assert set((layers["FparLai_QC"] >> 4).tolist()) <= {0, 1, 3, 4, 5, 6, 7, 9, 10}
        assert not (extra & 0b1000_0000).any()
        bad = (bits("CloudState", layers) > 1) | (bits("CloudShadow", layers) | bits("ThinCirrus", layers) > 0)
        clear = bits("SnowIce", layers) == 0
        assert (bad | ~backup)[clear].mean() > 0.98  # the main algorithm hardly fails without cloud


def test_biomes_follow_the_dominant_cover(band: Composition, year: list[dict[str, np.ndarray]]) -> None:
    biome = bits("BiomeType", year[0])
    whole = band.points[band.first] == POINTS
    code = CODES[band.curve[band.first]]
    for crop, expected in ((216, 1), (217, 1), (211, 1), (233, 3), (700, 0), (100, 10)):
        assert set(biome[whole & (code == crop)].tolist()) == {expected}, crop


def test_cloudy_winters_are_no_holes_but_bad_values(year: list[dict[str, np.ndarray]]) -> None:
    """A pipeline that checks fill alone finds a winter without gaps, lower and noisier than it is."""
    layers = year[1]
    valid = accepted(layers)
    shown = layers["Fpar"] <= 100
    assert (shown & ~valid).sum() > 0.3 * shown.sum()
    clear, cloudy = (layers["Fpar"][mask].astype(float) for mask in (valid, shown & ~valid))
    assert cloudy.mean() < 0.8 * clear.mean()


def test_snow_lies_in_mountains_and_in_winter(band: Composition, year: list[dict[str, np.ndarray]]) -> None:
    snow = np.array([bits("SnowIce", layers) > 0 for layers in year])
    assert snow[:6, band.height > 2200].mean() > 0.9
    assert snow[:, band.height < 200].mean() == 0
    assert snow[22:30, band.height < 2500].mean() < 0.02


@pytest.mark.parametrize("year", [2018, 2021, 2022])
def test_gaps_are_those_of_the_seasons(year: int) -> None:
    """Half of winter is missing, little of summer, more over mountains; shares over land by the suggested mask."""
    outline = read_outline(DATA / "italy_ne10m.geojson")
    gaps, high = [], []
    months = composite_dates(year).astype("datetime64[M]").astype(int) % 12 + 1
    bands = [(Tile(h, v), row) for h in (18, 19) for v in (4, 5) for row in range(30, 2400, 120)]
    for tile, row in bands:
        pixels = compose(tile, slice(row, row + 2), outline, SEED, year)
        if pixels is None:
            continue
        land = pixels.static == 0
        high.append(pixels.height[land] > 900)
        part = []
        for step in range(len(DAYS_OF_YEAR)):
            layers = empty_layers(2, 2400)
            observe(pixels, layers, SEED, year, step, (tile.h, tile.v, row))
            here = {name: layer.reshape(-1)[pixels.pixel][land] for name, layer in layers.items()}
            part.append(~accepted(here))
        gaps.append(np.array(part))
    gap, mountain = np.concatenate(gaps, axis=1), np.concatenate(high)
    quarters = {"winter": (12, 1, 2), "spring": (3, 4, 5), "summer": (6, 7, 8), "autumn": (9, 10, 11)}
    share = {season: gap[np.isin(months, of)].mean() for season, of in quarters.items()}
    assert 0.45 < share["winter"] < 0.65
    assert 0.05 < share["summer"] < 0.15
    assert share["summer"] < share["autumn"] < share["winter"]
    assert share["summer"] < share["spring"] < share["winter"]
    assert gap[:, mountain].mean() > gap[:, ~mountain].mean() + 0.05


def test_clouds_are_coherent_in_space_and_time() -> None:
    depth = weather(SEED, YEAR).depth
    anomaly = depth - depth.mean(axis=(1, 2), keepdims=True)
    anomaly -= anomaly.mean(axis=0)
    near = np.corrcoef(anomaly[:, :, 1:].ravel(), anomaly[:, :, :-1].ravel())[0, 1]
    far = np.corrcoef(anomaly[:, :, 150:].ravel(), anomaly[:, :, :-150].ravel())[0, 1]
    after = np.corrcoef(anomaly[1:].ravel(), anomaly[:-1].ravel())[0, 1]
    assert near > 0.8
    assert abs(far) < 0.2
    assert 0.15 < after < 0.6


def test_years_differ() -> None:
    one, other = weather(SEED, 2018), weather(SEED, 2021)
    assert abs(np.corrcoef(one.depth[20].ravel(), other.depth[20].ravel())[0, 1]) < 0.8
    assert np.abs(one.late - other.late).max() > 3


def test_map_nests_in_the_1_km_grid_and_speaks_the_legend() -> None:
    outline = box(8.2, 45.2, 8.6, 45.5)
    kilometre = make_grid("epsg3035-1km", outline, shard=64, chunk=32).geobox
    geobox = map_geobox(outline, 100)
    assert geobox.shape == tuple(10 * n for n in kilometre.shape)
    assert geobox.boundingbox == kilometre.boundingbox
    codes = np.concatenate([map_strip(geobox, strip, outline, SEED, YEAR) for strip in strips(geobox)])
    assert codes.shape == geobox.shape
    assert codes.dtype == np.int16
    assert set(np.unique(codes).tolist()) <= EUCROPMAP
    inside = codes > 0
    assert 0.2 < inside.mean() < 1
    # a cell holds what grows at its centre, as the granules' pixels see it
    i, j = np.argwhere(inside)[::997].T
    x, y = geobox.transform @ (j + 0.5, i + 0.5)
    np.testing.assert_array_equal(codes[i, j], CODES[parcels_at(x, y, SEED, YEAR).curve])
    with pytest.raises(ValueError, match="300 m does not divide"):
        map_geobox(outline, 300)
