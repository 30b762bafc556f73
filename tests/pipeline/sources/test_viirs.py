"""Granules of VIIRS LAI/FPAR: names, folders, refusals, and the meaning of pixels."""

import hashlib
import pickle
import shutil
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest
from shapely.geometry import box

from pipeline.base.errors import GranuleError, UserError
from pipeline.grid.sinusoidal import Tile
from pipeline.sources.quality import Rule
from pipeline.sources.simulated.granules import LAYERS, write_granule
from pipeline.sources.source import Checked, Source
from pipeline.sources.viirs import granules as viirs
from pipeline.sources.viirs.granules import ViirsGranules, parse_name, policy_rules
from pipeline.sources.viirs.settings import QcRule
from tests.support.granule_dialects import FIELDS, make_version_1, replace_structure, restore, set_attributes

FIRST = "VNP15A2H.A2018001.h18v04.002.2021124024601.h5"
DAY = date(2018, 1, 1)
MILAN = box(9.0, 45.0, 9.5, 45.4)  # in h18v04
SEAM = box(11.0, 39.5, 12.0, 40.5)  # on the edge between v04 and v05, in h18
ALL = slice(None)


def source_of(folder: Path, year: int = 2018, qc: str = "standard") -> ViirsGranules:
    return ViirsGranules(folder, year, qc, policy_rules(qc))


def names(folder: Path, year: int = 2018, outline=MILAN) -> list[str]:
    return [path.name for path in source_of(folder, year).files(outline)]


def touch(folder: Path, *files: str) -> None:
    for name in files:
        (folder / name).touch()


# names and folders


def test_the_name_says_it_all():
    name = parse_name(Path(FIRST))
    assert name is not None
    assert (name.product, name.version, name.year, name.day) == ("VNP15A2H", "002", 2018, 1)
    assert (name.tile, name.produced) == (Tile(18, 4), "2021124024601")


@pytest.mark.parametrize(
    "other",
    ["VNP13A2.A2025001.h18v09.002.2025017085341.h5", FIRST.replace("h18", "h77"), FIRST + ".part", "." + FIRST,
     FIRST.replace("2018", "٢٠١٨")],
)  # fmt: skip
def test_other_names_are_no_granules(other):
    assert parse_name(Path(other)) is None


def test_the_newest_production_wins_and_other_files_do_not_disturb(tmp_path):
    newer = "VNP15A2H.A2018001.h18v04.002.2022001000000.h5"
    touch(tmp_path, newer, FIRST, "VNP15A2H.A2017361.h18v04.002.2023124024601.h5", "readme.txt", "other.h5")
    assert names(tmp_path) == [newer]


def test_files_come_by_date_and_tile_and_only_of_tiles_that_the_region_touches(tmp_path):
    made = [f"VNP15A2H.A2018{day:03d}.{tile}.002.2022001000000.h5"
            for day in (9, 361, 1) for tile in ("h19v04", "h18v05", "h18v04")]  # fmt: skip
    touch(tmp_path, *made)
    assert [name[9:25] for name in names(tmp_path, outline=SEAM)] == [
        f"A2018{day}.{tile}." for day in ("001", "009", "361") for tile in ("h18v04", "h18v05")
    ]


def test_a_folder_that_is_of_no_use_is_named_with_what_it_holds(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no LAI/FPAR granule, none of 2018"):
        names(tmp_path)
    touch(tmp_path, FIRST)
    with pytest.raises(UserError, match=r"granules of 2018, none of 2019"):
        names(tmp_path, 2019)
    with pytest.raises(UserError, match="no folder"):
        names(tmp_path / "none")
    with pytest.raises(UserError, match=r"tiles h18v04, but the region touches h35v08"):
        names(tmp_path, outline=box(179.0, 1.0, 179.5, 2.0))


def test_years_before_the_record_are_refused_whatever_the_folder_holds(tmp_path):
    touch(tmp_path, FIRST.replace("A2018", "A2011"))
    with pytest.raises(UserError, match=r"no VIIRS granules of 2011: the record begins in 2012"):
        names(tmp_path, 2011)
    touch(tmp_path, FIRST.replace("A2018", "A2017").replace("VNP", "VJ1"))
    with pytest.raises(UserError, match="begins in 2018"):
        names(tmp_path, 2017)


@pytest.mark.parametrize(
    "other", ["VNP15A2H.A2018009.h18v04.001.2021124024601.h5", "VJ115A2H.A2018009.h18v04.002.2021124024601.h5"]
)
def test_versions_and_products_do_not_mix(tmp_path, other):
    touch(tmp_path, FIRST, other)
    with pytest.raises(UserError, match=r"mixes V.*15A2H\.00\d, VNP15A2H\.00\d"):
        names(tmp_path)


def test_another_product_of_a_tile_far_away_does_not_disturb(tmp_path):
    touch(tmp_path, FIRST, "VJ115A2H.A2018009.h00v08.002.2021124024601.h5")
    assert names(tmp_path) == [FIRST]


def test_a_year_is_46_dates_of_every_tile():
    dates = source_of(Path()).expected(SEAM)
    expected = list(dates)
    assert len(expected) == 92
    assert {f"A{day:%Y%j}" for day in dates.values()} == {key.split()[0] for key in expected}
    assert expected[:3] == ["A2018001 h18v04", "A2018001 h18v05", "A2018009 h18v04"]
    assert expected[-1] == "A2018361 h18v05"


# files


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    """Every pixel encodes its place and layer; 250 rows have fill alone."""
    rows, columns = np.mgrid[:2400, :2400]
    layers = {name: ((rows * 7 + columns // 16 + n) % 101).astype(np.uint8) for n, name in enumerate(LAYERS)}
    for layer in layers.values():
        layer[2150:] = 255
    return layers


@pytest.fixture(scope="module")
def undamaged(values: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("granule") / FIRST
    write_granule(path, Tile(18, 4), DAY, values, attributes={"Simulated": "yes: here"})
    return path


@pytest.fixture
def granule(undamaged: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(undamaged, tmp_path))


def checked(path: Path) -> Checked:
    return source_of(path.parent).check(path)


def assert_reads(path: Path, values: dict[str, np.ndarray]) -> None:
    (scene,) = checked(path).scenes
    for rows, columns in ((slice(95, 205), slice(7, 12)), (slice(2399, 2400), ALL), (slice(5, 5), ALL), (ALL, ALL)):
        got = source_of(path.parent).read(scene, rows, columns)
        assert list(got) == ["Fpar", "FparLai_QC", "FparExtra_QC"]
        for name, layer in got.items():
            np.testing.assert_array_equal(layer, values[name][rows, columns])


def test_opening_tells_the_scene_the_content_and_whether_it_is_simulated(undamaged):
    found = checked(undamaged)
    (scene,) = found.scenes
    assert (scene.path, scene.day, scene.place, scene.key) == (undamaged, DAY, "h18v04", "A2018001 h18v04")
    assert scene.geobox == Tile(18, 4).geobox()
    assert found.digest == hashlib.sha256(undamaged.read_bytes()).hexdigest()
    assert found.simulated == "yes: here"
    source: Source = source_of(undamaged.parent)  # type: ignore[assignment, unused-ignore]
    assert source.expected_key(scene) in source.expected(MILAN)
    assert pickle.loads(pickle.dumps(found)) == found
    assert pickle.loads(pickle.dumps(source)) == source


def test_windows_are_read_from_their_places(undamaged, values):
    assert_reads(undamaged, values)


def test_a_granule_of_fill_is_read_as_fill(tmp_path):
    write_granule(tmp_path / FIRST, Tile(18, 4), DAY, {})
    assert_reads(tmp_path / FIRST, dict.fromkeys(LAYERS, np.full((2400, 2400), 255, np.uint8)))
    assert checked(tmp_path / FIRST).simulated == ""


def test_version_1_is_read_end_to_end(granule, values):
    make_version_1(granule)
    old = granule.rename(granule.with_name(FIRST.replace(".002.", ".001.")))
    assert_reads(old, values)
    assert source_of(old.parent).files(MILAN) == [old]
    assert source_of(old.parent).about(checked(old).scenes)["source"] == "VNP15A2H.001"


@pytest.mark.parametrize(("satellite", "year"), [("VJ1", "2018"), ("VJ2", "2024")])
def test_the_twins_are_read(granule, values, satellite, year):
    set_attributes(granule, ShortName=f"{satellite}15A2H", RangeBeginningDate=f"{year}-01-01")
    twin = granule.rename(granule.with_name(FIRST.replace("VNP", satellite).replace("A2018", f"A{year}")))
    assert_reads(twin, values)
    source = source_of(twin.parent, int(year))
    assert source.files(MILAN) == [twin]
    assert source.about(checked(twin).scenes)["source"] == f"{satellite}15A2H.002"


def test_attributes_that_are_left_out_are_no_fault(granule, values):
    set_attributes(granule, **dict.fromkeys(
        ("HORIZONTALTILENUMBER", "VERTICALTILENUMBER", "ShortName", "VersionID", "RangeBeginningDate")))  # fmt: skip
    set_attributes(granule, f"{FIELDS}/Fpar", scale_factor=None, add_offset=None, _FillValue=None, valid_range=None)
    assert_reads(granule, values)


def test_attributes_do_not_drive_masking(granule, values):
    set_attributes(granule, f"{FIELDS}/Fpar", _FillValue=np.array([249], np.uint8), valid_range="7-8")
    assert_reads(granule, values)


@pytest.mark.parametrize(
    ("place", "attribute", "value", "reason"),
    [
        (f"{FIELDS}/Fpar", "scale_factor", np.array([0.1]), "scale_factor of Fpar is 0.1, not 0.01"),
        (f"{FIELDS}/Fpar", "scale_factor", "hundredth", "scale_factor of Fpar is hundredth"),
        (f"{FIELDS}/Fpar", "add_offset", np.array([5.0]), "offset of Fpar is 5.0"),
        ("/", "HORIZONTALTILENUMBER", np.bytes_("19"), "HorizontalTileNumber is 19, which contradicts its name"),
        ("/", "VERTICALTILENUMBER", np.bytes_("05"), "VerticalTileNumber is 05"),
        ("/", "VersionID", np.bytes_("001"), "VersionID is 001"),
        ("/", "ShortName", "VJ115A2H", r"ShortName is VJ115A2H, .* \(VNP15A2H\)"),
        ("/", "RangeBeginningDate", "2018-01-09", r"RangeBeginningDate is 2018-01-09, .* \(2018-01-01\)"),
    ],
)
def test_attributes_that_contradict_the_name_or_the_product_are_told(granule, place, attribute, value, reason):
    set_attributes(granule, place, **{attribute: value})
    with pytest.raises(GranuleError, match=reason) as caught:
        checked(granule)
    assert FIRST in str(caught.value)


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_no_hdf5(path: Path) -> None:
    path.write_text("<html>502 Bad Gateway</html>")


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def spoil_no_layer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[FIELDS]["FparExtra_QC"]


def spoil_no_fpar(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file[FIELDS].move("Fpar", "FPAR")


def spoil_two_grids(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["HDFEOS/GRIDS/other/Data Fields/Fpar"] = np.zeros(3)


def spoil_no_dataset(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file[FIELDS]["FparLai_QC"]
        file[FIELDS].create_group("FparLai_QC")


def spoil_shape(path: Path) -> None:
    restore(path, "Fpar", data=np.zeros((1200, 1200), np.uint8))


def spoil_type(path: Path) -> None:
    restore(path, "FparLai_QC", data=np.zeros((2400, 2400), np.int8), compression="gzip")


def spoil_corner(path: Path) -> None:
    replace_structure(path, "LowerRightMtrs=(1111950.5", "LowerRightMtrs=(1111950.6")


def spoil_place(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        grid = file["HDFEOS/GRIDS/VNP_Grid_VNP15A2H"]
        del grid["XDim"], grid["YDim"]
    replace_structure(path, "5559752.598333", "6671703.118000")
    replace_structure(path, "4447802.078667", "5559752.598333")


def spoil_rows_lost(path: Path) -> None:
    """The index of one layer has lost its last rows, which would be read as fill."""
    with h5py.File(path, "r+") as file:
        values = file[FIELDS]["FparLai_QC"][:2100]
        attributes = {"chunks": (1, 2400), "compression": "gzip", "fillvalue": 255}
        del file[FIELDS]["FparLai_QC"]
        layer = file[FIELDS].create_dataset("FparLai_QC", (2400, 2400), np.uint8, **attributes)
        layer[:2100] = values


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_truncated, "truncated"),
        (spoil_no_hdf5, "no HDF5 file"),
        (spoil_empty, "no HDF5 file|truncated"),
        (spoil_folder, "no HDF5 file"),
        (spoil_no_layer, "FparExtra_QC is missing"),
        (spoil_no_fpar, "0 groups under /HDFEOS/GRIDS hold a layer Fpar"),
        (spoil_two_grids, "2 groups under /HDFEOS/GRIDS hold a layer Fpar"),
        (spoil_no_dataset, "FparLai_QC is no dataset"),
        (spoil_shape, r"Fpar: it is uint8 \(1200, 1200\), not uint8 \(2400, 2400\)"),
        (spoil_type, r"FparLai_QC: it is int8"),
        (spoil_corner, "XDim: it contradicts the corners|LowerRightMtrs"),
        (spoil_place, "UpperLeftPointMtrs is .*6671703.118.*, but tile h18v04 has"),
        (spoil_rows_lost, "do not have the same rows stored"),
        (Path.unlink, "gone"),
    ],
)
def test_a_bad_granule_is_named_with_the_reason(granule, spoil, reason):
    spoil(granule)
    with pytest.raises(GranuleError, match=reason) as caught:
        checked(granule)
    assert str(caught.value).startswith(FIRST)


@pytest.mark.parametrize("day", ["002", "000", "400"])
def test_a_date_off_the_calendar_is_refused(granule, day):
    moved = granule.rename(granule.with_name(FIRST.replace("A2018001", f"A2018{day}")))
    with pytest.raises(GranuleError, match=f"day {int(day)} is no first day"):
        checked(moved)


def test_a_file_that_is_damaged_after_it_was_checked_is_told_when_it_is_read(granule):
    (scene,) = checked(granule).scenes
    with h5py.File(granule) as file:
        chunk = file[FIELDS]["Fpar"].id.get_chunk_info_by_coord((40, 0))
    content = bytearray(granule.read_bytes())
    content[chunk.byte_offset + 10] ^= 1
    granule.write_bytes(content)
    source = source_of(granule.parent)
    source.read(scene, slice(41, 99), ALL)
    with pytest.raises(GranuleError, match=f"{FIRST}: Fpar: pixels cannot be decoded"):
        source.read(scene, slice(40, 41), ALL)


def test_a_file_that_is_replaced_after_it_was_checked_is_told_when_it_is_read(granule):
    (scene,) = checked(granule).scenes
    restore(granule, "FparLai_QC", data=np.zeros((1200, 1200), np.uint8))
    with pytest.raises(GranuleError, match=f"{FIRST}: FparLai_QC is no longer what it was"):
        source_of(granule.parent).read(scene, slice(1000, 1300), ALL)


# pixels


def decoded(fpar: np.ndarray, quality: np.ndarray, extra: np.ndarray, rules: tuple[Rule, ...]):
    source = ViirsGranules(Path(), 2018, "any", rules)
    return source.decode({"Fpar": fpar, "FparLai_QC": quality, "FparExtra_QC": extra})


def bits(value: np.ndarray, first: int, last: int) -> np.ndarray:
    return value >> first & (1 << (last - first + 1)) - 1


@pytest.mark.parametrize("policy", ["strict", "standard", "loose", "custom"])
def test_every_combination_of_quality_bits_is_judged_as_the_tables_say(policy):
    quality, extra = (a.ravel() for a in np.meshgrid(range(256), range(256)))
    scf, dead, biome = bits(quality, 0, 2), bits(quality, 3, 3), bits(quality, 4, 7)
    cloud, aerosol = bits(extra, 0, 1), bits(extra, 4, 5)
    unspoilt = (bits(extra, 2, 2) == 0) & (bits(extra, 3, 3) == 0) & (bits(extra, 6, 6) == 0)
    expected = {
        "strict": (scf == 0) & (cloud == 0) & unspoilt & (dead == 0),
        "standard": (scf <= 1) & (cloud <= 1) & unspoilt,
        "loose": scf <= 3,
        "custom": ((scf == 0) | (scf == 2)) & ((aerosol == 1) | (aerosol == 2)) & (biome != 12),
    }[policy]
    own = (
        QcRule(field="SCF_QC", accept=(0, 2)),
        QcRule(field="Aerosol", accept=(2, 1)),
        QcRule(field="BiomeType", accept=tuple(n for n in range(16) if n != 12)),
    )
    rules = policy_rules(policy, own if policy == "custom" else ())
    got = decoded(np.full(65536, 50, np.uint8), quality.astype(np.uint8), extra.astype(np.uint8), rules)
    np.testing.assert_array_equal(got.valid["fpar"], expected)
    np.testing.assert_array_equal(got.crop, (biome == 1) | (biome == 3))
    assert got.counts["observed"] == 65536
    assert got.counts["accepted"] == expected.sum()
    assert got.counts["SCF_QC"] == {"strict": 7, "standard": 6, "loose": 4, "custom": 6}[policy] * 8192


def test_numbers_above_100_are_never_values_and_codes_are_counted_by_name():
    raw = np.repeat(np.arange(256, dtype=np.uint8), 2)
    quality = np.full(512, 1 << 4, np.uint8)
    got = decoded(raw, quality, np.zeros(512, np.uint8), policy_rules("loose"))
    np.testing.assert_array_equal(got.valid["fpar"], raw <= 100)
    np.testing.assert_array_equal(got.values["fpar"], raw)
    np.testing.assert_array_equal(got.static, (raw >= 250) & (raw <= 254))
    np.testing.assert_array_equal(got.crop, raw <= 100)  # of pixels without a value the biome is not asked
    np.testing.assert_array_equal(got.observed, raw <= 100)
    assert got.counts == {
        "observed": 202,
        "accepted": 202,
        "SCF_QC": 0,
        "code 249 unclassified": 2,
        "code 250 urban": 2,
        "code 251 wetland": 2,
        "code 252 snow or ice": 2,
        "code 253 barren": 2,
        "code 254 water": 2,
        "code 255 fill": 2,
        "code 101-248 undefined": 296,
    }


def test_no_pixels_at_all_are_decoded_too():
    none = np.zeros(0, np.uint8)
    got = decoded(none, none, none, policy_rules("standard"))
    assert got.valid["fpar"].shape == got.static.shape == got.crop.shape == (0,)
    assert set(got.counts.values()) == {0}


def test_one_field_has_one_rule():
    twice = (QcRule(field="CloudState", accept=(0,)), QcRule(field="CloudState", accept=(1,)))
    with pytest.raises(UserError, match="CloudState twice"):
        policy_rules("custom", twice)


def test_settings_are_what_the_pixels_mean_and_not_what_the_policy_is_called():
    own = tuple(QcRule(field=rule.name, accept=rule.accept) for rule in policy_rules("standard"))
    custom = ViirsGranules(Path("elsewhere"), 2018, "custom", policy_rules("custom", own))
    assert custom.settings() == source_of(Path()).settings()
    assert custom.settings() != source_of(Path(), qc="strict").settings()


def test_the_cube_is_told_product_and_rules():
    about = source_of(Path(), qc="loose").about([])
    assert about == {"source": "VIIRS LAI/FPAR", "qc_policy": "loose"}
    assert viirs.ViirsGranules.channels[0].missing == 255
