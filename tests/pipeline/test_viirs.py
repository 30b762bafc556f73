from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.errors import GranuleError, UserError
from pipeline.simulation.granules import write_granule
from pipeline.sources import viirs
from pipeline.sources.sinusoidal import Tile

FIRST = "VNP15A2H.A2018001.h18v04.002.2021124024601.h5"
DAY = date(2018, 1, 1)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_the_name_says_it_all():
    granule = viirs.parse_name(Path(FIRST))
    assert granule is not None
    assert (granule.product, granule.version, granule.year, granule.day) == ("VNP15A2H", "002", 2018, 1)
    assert (granule.tile, granule.produced) == (Tile(18, 4), "2021124024601")
    assert viirs.parse_name(Path("VNP13A2.A2025001.h18v09.002.2025017085341.h5")) is None


def test_the_newest_production_wins_and_other_files_do_not_disturb(tmp_path):
    newer = "VNP15A2H.A2018001.h18v04.002.2022001000000.h5"
    touch(tmp_path, FIRST, newer, "VNP15A2H.A2017361.h18v04.002.2021124024601.h5", "readme.txt", "other.h5")
    assert [granule.path.name for granule in viirs.find_granules(tmp_path, 2018)] == [newer]


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path} holds no LAI/FPAR granule"):
        viirs.find_granules(tmp_path, 2018)
    touch(tmp_path, FIRST)
    with pytest.raises(UserError, match=r"granules of 2018, none of 2019"):
        viirs.find_granules(tmp_path, 2019)
    with pytest.raises(UserError, match="no folder"):
        viirs.find_granules(tmp_path / "none", 2018)


@pytest.mark.parametrize(
    "other", ["VNP15A2H.A2018009.h18v04.001.2021124024601.h5", "VJ115A2H.A2018009.h18v04.002.2021124024601.h5"]
)
def test_versions_and_products_do_not_mix(tmp_path, other):
    touch(tmp_path, FIRST, other)
    with pytest.raises(UserError, match="mixes"):
        viirs.find_granules(tmp_path, 2018)


def bits(value: int, first: int, last: int) -> int:
    return value >> first & (1 << (last - first + 1)) - 1


@pytest.mark.parametrize("policy", ["strict", "standard", "loose"])
def test_every_combination_of_quality_bits_is_judged_as_the_tables_say(policy):
    quality, extra = (a.ravel().astype(np.uint8) for a in np.meshgrid(range(256), range(256)))
    got = viirs.valid(
        {"Fpar": np.full(65536, 50, np.uint8), "FparLai_QC": quality, "FparExtra_QC": extra}, viirs.QC_POLICIES[policy]
    )
    for q, e, accepted in zip(quality[::17].tolist(), extra[::17].tolist(), got[::17].tolist(), strict=True):
        scf, dead, cloud = bits(q, 0, 2), bits(q, 3, 3), bits(e, 0, 1)
        shadow, cirrus, snow = bits(e, 2, 2), bits(e, 3, 3), bits(e, 6, 6)
        spoilt = shadow or cirrus or snow
        expected = {
            "strict": scf == 0 and cloud == 0 and not spoilt and not dead,
            "standard": scf <= 1 and cloud <= 1 and not spoilt,
            "loose": scf <= 3,
        }[policy]
        assert accepted == bool(expected), (q, e)


def test_codes_above_100_are_never_values():
    raw = np.arange(256, dtype=np.uint8)
    best = np.zeros(256, np.uint8)
    accepted = viirs.valid({"Fpar": raw, "FparLai_QC": best, "FparExtra_QC": best}, viirs.QC_POLICIES["loose"])
    np.testing.assert_array_equal(accepted, raw <= 100)


def test_crop_biomes_are_cereals_and_broadleaf_crops():
    quality = np.array([biome << 4 | 7 for biome in range(13)], np.uint8)
    assert np.flatnonzero(viirs.crop_biome({"FparLai_QC": quality})).tolist() == [1, 3]


@pytest.fixture
def granule(tmp_path: Path) -> viirs.Granule:
    layer = (np.arange(2400 * 2400) % 101).astype(np.uint8).reshape(2400, 2400)
    layers = {"Fpar": layer, "FparLai_QC": np.zeros_like(layer), "FparExtra_QC": np.zeros_like(layer)}
    write_granule(tmp_path / FIRST, Tile(18, 4), DAY, layers)
    found = viirs.parse_name(tmp_path / FIRST)
    assert found is not None
    return found


def test_a_window_is_read_from_its_place(granule):
    viirs.check(granule)
    layers = viirs.read(granule, slice(1000, 1003), slice(7, 12))
    rows, columns = np.mgrid[1000:1003, 7:12]
    np.testing.assert_array_equal(layers["Fpar"], (rows * 2400 + columns) % 101)


def test_the_data_group_is_discovered(granule):
    with h5py.File(granule.path, "r+") as file:
        (name,) = file["HDFEOS/GRIDS"]
        file.move(f"HDFEOS/GRIDS/{name}", "HDFEOS/GRIDS/VIIRS_Grid_LAIFPAR")
    viirs.check(granule)
    assert viirs.read(granule, slice(0, 1), slice(0, 3))["Fpar"].tolist() == [[0, 1, 2]]


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_no_hdf5(path: Path) -> None:
    path.write_text("<html>502 Bad Gateway</html>")


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_no_layer(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        (name,) = file["HDFEOS/GRIDS"]
        del file[f"HDFEOS/GRIDS/{name}/Data Fields/FparExtra_QC"]


def spoil_shape(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        (name,) = file["HDFEOS/GRIDS"]
        fields = file[f"HDFEOS/GRIDS/{name}/Data Fields"]
        del fields["Fpar"]
        fields["Fpar"] = np.zeros((1200, 1200), np.uint8)


def spoil_place(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        group = file["HDFEOS INFORMATION"]
        text = group["StructMetadata.0"][()]
        del group["StructMetadata.0"]
        group["StructMetadata.0"] = text.replace(b"UpperLeftPointMtrs=(0.0", b"UpperLeftPointMtrs=(1.0")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_truncated, "truncated"),
        (spoil_no_hdf5, "no HDF5 file"),
        (spoil_empty, "no HDF5 file|truncated"),
        (spoil_no_layer, "FparExtra_QC is missing"),
        (spoil_shape, r"\(1200, 1200\)"),
        (spoil_place, "UpperLeftPointMtrs"),
        (Path.unlink, "gone"),
    ],
)
def test_a_bad_granule_is_named_with_the_reason(granule, spoil, reason):
    spoil(granule.path)
    with pytest.raises(GranuleError, match=reason) as caught:
        viirs.check(granule)
    assert FIRST in str(caught.value)


def test_a_date_off_the_calendar_is_refused(granule):
    moved = granule.path.rename(granule.path.with_name(FIRST.replace("A2018001", "A2018002")))
    with pytest.raises(GranuleError, match="day 2"):
        viirs.check(viirs.parse_name(moved))
