"""Shares of what became of the pixels, as attributes of the cube, against independent counting."""

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from odc.geo import CRS
from pyproj import Transformer
from shapely.geometry import box, mapping

from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.stages.ingest.stage import ingest
from tests.support.small_country import OUTLINE, TILE, small_config, write_patch
from tests.support.small_rasters import UTM, write_tiff

DAYS = tuple(date(2018, 1, 1) + timedelta(days=8 * k) for k in range(5))
WINDOW = slice(1060, 1240), slice(1480, 1680)  # of the tile: more than the country's grid
SIZE = 180, 200
CODES = {
    249: "249 unclassified", 250: "250 urban", 251: "251 wetland", 252: "252 snow or ice", 253: "253 barren",
    254: "254 water", 255: "255 fill",
}  # fmt: skip
LAYERS = ("Fpar", "FparLai_QC", "FparExtra_QC")
STANDARD = {
    "SCF_QC": ("FparLai_QC", 0, 0b111, {0, 1}),
    "CloudState": ("FparExtra_QC", 0, 0b11, {0, 1}),
    "CloudShadow": ("FparExtra_QC", 2, 1, {0}),
    "ThinCirrus": ("FparExtra_QC", 3, 1, {0}),
    "SnowIce": ("FparExtra_QC", 6, 1, {0}),
}  # layer, lowest bit, mask of the field once it is shifted down, values that pass
LOOSE = {"SCF_QC": ("FparLai_QC", 0, 0b111, {0, 1, 2, 3})}
STRICT = STANDARD | {
    "SCF_QC": ("FparLai_QC", 0, 0b111, {0}),
    "DeadDetector": ("FparLai_QC", 3, 1, {0}),
    "CloudState": ("FparExtra_QC", 0, 0b11, {0}),
}
CUSTOM = {
    "BiomeType": ("FparLai_QC", 4, 0b1111, {1, 3}),
    "Aerosol": ("FparExtra_QC", 4, 0b11, {1, 2}),
    "SCF_QC": ("FparLai_QC", 0, 0b111, {0, 4}),
}
RULES = tuple({"field": name, "accept": sorted(accept)} for name, (_, _, _, accept) in CUSTOM.items())


def write(folder: Path, day: date, seed: int) -> None:
    """Numbers of every kind: values, codes, numbers that mean nothing, all quality bits."""
    rng = np.random.default_rng(seed)
    fpar = rng.integers(0, 101, SIZE)
    fpar = np.where(rng.random(SIZE) < 0.3, rng.choice([*CODES, 101, 248], SIZE), fpar)
    qc, extra = rng.integers(0, 256, (2, *SIZE))
    clean = rng.random(SIZE) < 0.5
    qc, extra = np.where(clean, 1 << 4, qc), np.where(clean, 0, extra)
    layers = {name: layer.astype(np.uint8) for name, layer in zip(LAYERS, (fpar, qc, extra), strict=True)}
    write_patch(folder, TILE, day, WINDOW, **layers)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quality")
    (folder / "outline.geojson").write_text(json.dumps(mapping(OUTLINE)))
    for number, day in enumerate(DAYS):
        write(folder / "granules", day, number)
    return folder


def config_of(folder: Path, out: Path, **overrides: object) -> Config:
    return small_config(
        folder, out, **({"reference__path": None, "ingest__max_missing_share": 1, "ingest__chunk": 8} | overrides)
    )


def pixels_of_the_grid(config: Config) -> dict[str, np.ndarray]:
    """All layers (dates, pixels) of the pixels whose centre lies in the grid, read and placed without the software."""
    about = layout.attributes(stores.open_to_read(config.cube))
    left, bottom, right, top = about["spatial:bbox"]
    size, edge = 1111950.5196666666 / 2400, 6371007.181 * np.pi
    rows, columns = np.mgrid[WINDOW]
    x = -edge + (TILE.h * 2400 + columns + 0.5) * size
    y = edge / 2 - (TILE.v * 2400 + rows + 0.5) * size
    sinusoidal = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
    x, y = Transformer.from_crs(sinusoidal, "EPSG:3035", always_xy=True).transform(x, y)
    inside = (x >= left) & (x < right) & (y > bottom) & (y <= top)
    assert not inside[[0, -1]].any()
    assert not inside[:, [0, -1]].any()
    found: dict[str, list[np.ndarray]] = {name: [] for name in LAYERS}
    for path in sorted(config.granules.glob("*.h5")):
        with h5py.File(path) as file:
            fields = file["HDFEOS/GRIDS/VNP_Grid_VNP15A2H/Data Fields"]
            for name in LAYERS:
                found[name].append(fields[name][WINDOW][inside])
    return {name: np.stack(layers) for name, layers in found.items()}


def counted(pixels: dict[str, np.ndarray], rules: dict[str, tuple[str, int, int, set[int]]]) -> dict[str, Any]:
    """The shares that the cube should tell."""
    fpar = pixels["Fpar"]
    held = fpar <= 100
    passes = {
        name: np.isin((pixels[layer] >> lowest) & mask, list(accept))
        for name, (layer, lowest, mask, accept) in rules.items()
    }
    accepted = held & np.logical_and.reduce(list(passes.values()))

    def share(part: Any, whole: int) -> float:
        return round(int(part.sum()) / whole, 6)

    undefined = (fpar > 100) & (fpar < 249)
    return {
        "pixels": fpar.size,
        "pixels_with_value": int(held.sum()),
        "accepted_share": share(accepted, int(held.sum())),
        "rejected_shares": {name: share(held & ~ok, int(held.sum())) for name, ok in passes.items()},
        "code_shares": {text: share(fpar == code, fpar.size) for code, text in CODES.items()}
        | {"undefined": share(undefined, fpar.size)},
    }


def told(config: Config) -> dict[str, Any]:
    quality: dict[str, Any] = layout.attributes(stores.open_to_read(config.cube))["quality"]
    # how numbers without a meaning are called is not the point here
    known = set(CODES.values())
    codes = {name if name in known else "undefined": share for name, share in quality["code_shares"].items()}
    return {**quality, "code_shares": codes}


@pytest.mark.parametrize("shard", [16, 512], ids=["many shards", "one shard"])
def test_shares_are_those_of_independent_counting_whatever_the_shards(original, tmp_path, shard):
    config = config_of(original, tmp_path / "out", ingest__shard=shard)
    result = ingest(config)
    assert len(layout.read_grid(stores.open_to_read(config.cube)).shards) == (1 if shard == 512 else 16)
    expected = counted(pixels_of_the_grid(config), STANDARD)
    assert told(config) == expected
    assert 0 < expected["accepted_share"] < 1
    assert result.facts["quality"] == layout.attributes(stores.open_to_read(config.cube))["quality"]
    assert ingest(config).facts["quality"] == result.facts["quality"]


@pytest.mark.parametrize(
    ("policy", "rules"), [("strict", STRICT), ("loose", LOOSE), ("custom", CUSTOM)], ids=["strict", "loose", "custom"]
)
def test_every_policy_tells_the_shares_of_its_own_rules(original, tmp_path, policy, rules):
    own = {"ingest__qc_rules": RULES} if policy == "custom" else {}
    config = config_of(original, tmp_path / "out", ingest__qc=policy, **own)
    ingest(config)
    assert told(config) == counted(pixels_of_the_grid(config), rules)
    about = layout.attributes(stores.open_to_read(config.cube))
    assert about["qc_policy"] == policy
    assert about["qc_rules"].keys() == rules.keys()


def test_after_other_granules_the_shares_are_those_of_all_granules_as_they_are_now(original, tmp_path):
    config = config_of(original, tmp_path / "out", ingest__shard=16, ingest__granules=tmp_path / "granules")
    for number, day in enumerate(DAYS):
        write(config.granules, day, number)
    ingest(config)
    before = told(config)
    write(config.granules, DAYS[1], 77)
    write(config.granules, DAYS[-1] + timedelta(days=8), 78)
    next(config.granules.glob(f"*.A{DAYS[2]:%Y%j}.*")).unlink()
    result = ingest(config)
    assert told(config) == counted(pixels_of_the_grid(config), STANDARD) != before
    assert result.facts["quality"] == layout.attributes(stores.open_to_read(config.cube))["quality"]


def test_a_policy_of_ones_own_decides_which_observations_enter_the_averages(original, tmp_path):
    """On the tile's own grid every cell is a pixel."""
    config = config_of(
        original, tmp_path / "out", ingest__qc="custom", ingest__qc_rules=RULES, ingest__grid="sinusoidal-463m",
    )  # fmt: skip
    ingest(config)
    cube = stores.open_to_read(config.cube)
    a, t = layout.read_grid(cube).geobox.transform, TILE.geobox().transform
    row, column = round((t.f - a.f) / t.a), round((a.c - t.c) / t.a)
    fpar = layout.array(cube, "fpar")
    rows, columns = slice(row, row + fpar.shape[1]), slice(column, column + fpar.shape[2])
    for period, path in enumerate(sorted(config.granules.glob("*.h5"))):
        with h5py.File(path) as file:
            fields = file["HDFEOS/GRIDS/VNP_Grid_VNP15A2H/Data Fields"]
            pixels = {name: fields[name][rows, columns] for name in LAYERS}
        passes = [np.isin((pixels[layer] >> low) & mask, list(ok)) for layer, low, mask, ok in CUSTOM.values()]
        valid = np.logical_and.reduce([pixels["Fpar"] <= 100, *passes])
        np.testing.assert_array_equal(fpar[period], np.where(valid, pixels["Fpar"], 255))


def test_pixels_of_rasters_without_a_value_are_pixels_too(original, tmp_path):
    """A third of 2,400 is nodata, a quarter of the rest is rejected by its quality."""
    rows, columns = np.mgrid[:40, :60]
    numbers = np.where(columns % 3 == 0, 255, 7).astype(np.uint8)
    quality = (rows % 4 == 0).astype(np.uint8)
    write_tiff(tmp_path / "f_2018001.tif", numbers, quality)
    to_degrees = CRS(UTM).transformer_to_crs("EPSG:4326")
    (west, south), (east, north) = to_degrees(600_000, 4_999_200), to_degrees(601_200, 5_000_000)
    (tmp_path / "outline.geojson").write_text(json.dumps(mapping(box(west, south, east, north))))
    rule = {"name": "clear", "bits": (0, 0), "accept": (0,)}
    config = config_of(
        tmp_path, tmp_path / "out", ingest__granules=None, ingest__grid="epsg32632-100m", raster__folder=tmp_path,
        raster__files=("f_%Y%j.tif",), raster__channels=({"name": "fpar", "valid_range": (0, 100)},),
        raster__quality=({"name": "qc", "band": 2, "rules": (rule,)},),
    )  # fmt: skip
    quality_told = ingest(config).facts["quality"]
    assert quality_told["pixels_with_value"] == 1600
    assert quality_told["accepted_share"] == 0.75
    assert quality_told["rejected_shares"] == {"clear": 0.25}
    assert quality_told["pixels"] == 2400


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({"ingest__qc": "custom"}, "qc_rules"),
        ({"ingest__qc_rules": RULES}, "qc = custom"),
        ({"ingest__qc": "custom", "ingest__qc_rules": ({"field": "Clouds", "accept": (0,)},)}, "CloudState"),
        ({"ingest__qc": "custom", "ingest__qc_rules": ({"field": "SnowIce", "accept": (2,)},)}, "from 0 to 1"),
        ({"ingest__qc": "best"}, "'strict', 'standard', 'loose' or 'custom'"),
    ],
)
def test_policies_that_cannot_be_meant_are_refused_with_what_can(original, tmp_path, policy, complaint):
    with pytest.raises(UserError, match=complaint):
        config_of(original, tmp_path / "out", **policy)
