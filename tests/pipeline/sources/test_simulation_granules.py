"""Granules of the simulation, compared with the product's layout."""

import hashlib
import time
from datetime import date
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.grid.sinusoidal import Tile
from pipeline.sources.simulated.granules import LAYERS, granule_name, write_granule
from pipeline.sources.simulated.metadata import corners
from pipeline.sources.viirs import granules as viirs
from tests.support.paths import DATA

REAL = DATA / "VNP13A2.A2025001.h18v09.002.2025017085341.h5"
GRID = "HDFEOS/GRIDS/VNP_Grid_VNP15A2H"
TILE, DAY = Tile(18, 4), date(2018, 12, 27)


@pytest.fixture(scope="module")
def layers() -> dict[str, np.ndarray]:
    """Return values that encode their place, in rows 700 to 709 only."""
    rows, columns = np.mgrid[700:710, :2400]
    arrays = {}
    for n, name in enumerate(LAYERS):
        arrays[name] = np.full((2400, 2400), 255, np.uint8)
        arrays[name][700:710] = (rows * 7 + columns * 3 + n) % 254
    return arrays


@pytest.fixture(scope="module")
def path(layers: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("granules") / granule_name(TILE, DAY)
    write_granule(file, TILE, DAY, layers, attributes={"Simulated": "yes"})
    return file


def reader(path: Path) -> viirs.ViirsGranules:
    return viirs.ViirsGranules(path.parent, 2018, "standard", viirs.policy_rules("standard"))


def test_name_is_the_products_and_holds_no_clock(path: Path) -> None:
    assert path.name == "VNP15A2H.A2018361.h18v04.002.2019006120000.h5"
    granule = viirs.parse_name(path)
    assert granule is not None
    assert (granule.tile, granule.year, granule.day, granule.version) == (TILE, 2018, 361, "002")


def test_reader_gets_the_values_back(path: Path, layers: dict[str, np.ndarray]) -> None:
    found = reader(path).check(path)
    assert found.simulated == "yes"
    back = reader(path).read(found.scenes[0], slice(690, 720), slice(0, 2400))
    for name, values in back.items():
        np.testing.assert_array_equal(values, layers[name][690:720])


def test_layers_are_stored_as_in_collection_2(path: Path, layers: dict[str, np.ndarray]) -> None:
    with h5py.File(path) as file:
        fields = file[f"{GRID}/Data Fields"]
        assert sorted(fields) == sorted([*LAYERS, "Projection"])
        for name in LAYERS:
            layer = fields[name]
            assert (layer.shape, layer.dtype, layer.chunks) == ((2400, 2400), np.uint8, (1, 2400))
            assert (layer.compression, layer.compression_opts, layer.shuffle) == ("gzip", 5, False)
            np.testing.assert_array_equal(layer[:], layers[name])
            assert layer.id.get_num_chunks() == 10  # rows of fill are left out
            assert [dim[0].name.rsplit("/", 1)[-1] for dim in layer.dims] == ["YDim", "XDim"]


@pytest.mark.parametrize(
    ("name", "scale", "valid_range"),
    [("Fpar", 0.01, [0, 100]), ("Lai", 0.1, [0, 100]), ("FparStdDev", 0.01, [0, 100]), ("LaiStdDev", 0.1, [0, 100]),
     ("FparLai_QC", None, [0, 254]), ("FparExtra_QC", None, [0, 254])],
)  # fmt: skip
def test_layer_attributes(path: Path, name: str, scale: float | None, valid_range: list[int]) -> None:
    with h5py.File(path) as file:
        attributes = file[f"{GRID}/Data Fields/{name}"].attrs
        assert attributes["_FillValue"].tolist() == [255]
        assert attributes["valid_range"].tolist() == valid_range
        assert attributes["grid_mapping"].tolist() == [b"Projection"]
        assert attributes.get("scale_factor", np.array([None])).tolist() == [scale]
        assert ("add_offset" in attributes) == (scale is not None)


@pytest.mark.parametrize(
    ("tile", "upper_left", "lower_right"),
    [("h18v04", "(0.000000,5559752.598333)", "(1111950.519667,4447802.078667)"),
     ("h18v05", "(0.000000,4447802.078667)", "(1111950.519667,3335851.559000)"),
     ("h19v04", "(1111950.519667,5559752.598333)", "(2223901.039333,4447802.078667)"),
     ("h19v05", "(1111950.519667,4447802.078667)", "(2223901.039333,3335851.559000)")],
)  # fmt: skip
def test_corners_are_those_of_the_tile(tmp_path: Path, tile: str, upper_left: str, lower_right: str) -> None:
    path = tmp_path / granule_name(Tile.parse(tile), DAY)
    write_granule(path, Tile.parse(tile), DAY, {})
    with h5py.File(path) as file:
        structure = file["HDFEOS INFORMATION/StructMetadata.0"]
        assert structure.dtype == "S32000"
        text = structure[()].decode()
        assert f"UpperLeftPointMtrs={upper_left}\n" in text
        assert f"LowerRightMtrs={lower_right}\n" in text
        x, y = file[f"{GRID}/XDim"][:], file[f"{GRID}/YDim"][:]
    left, top = (float(value) for value in upper_left.strip("()").split(","))
    right, bottom = (float(value) for value in lower_right.strip("()").split(","))
    assert (x[0], y[0]) == (left, top)  # corners, not centres
    np.testing.assert_array_equal(x, left + np.arange(2400) * ((right - left) / 2400))
    np.testing.assert_array_equal(y, top + np.arange(2400) * ((bottom - top) / 2400))


def test_root_attributes(path: Path) -> None:
    with h5py.File(path) as file:
        texts = {key: value.decode() for key, value in file.attrs.items() if isinstance(value, bytes)}
    assert texts["RangeBeginningDate"] == "2018-12-27"
    assert texts["RangeEndingDate"] == "2019-01-03"
    assert texts["DayNumbers"] == "361, 362, 363, 364, 365, 1, 2, 3"
    assert (texts["HORIZONTALTILENUMBER"], texts["VERTICALTILENUMBER"], texts["TileID"]) == ("18", "04", "51018004")
    assert (texts["ShortName"], texts["VersionID"]) == ("VNP15A2H", "002")
    assert texts["LocalGranuleID"] == path.name
    assert "simulated" in texts["LongName"]
    assert "simulated" in texts["ProcessingCenter"]


@pytest.mark.skipif(not REAL.exists(), reason="the real granule is not in ../shared/data")
def test_layout_is_that_of_a_real_granule_of_the_collection(path: Path) -> None:
    def skeleton(file: h5py.File) -> tuple[set[str], h5py.Group]:
        (grid,) = file["HDFEOS/GRIDS"].values()
        names: set[str] = set()
        file.visit(names.add)
        return {name.replace(grid.name.lstrip("/"), "GRID") for name in names if "Data Fields/" not in name}, grid

    with h5py.File(REAL) as real, h5py.File(path) as ours:
        (expected, real_grid), (found, our_grid) = skeleton(real), skeleton(ours)
        assert found == expected
        real_layer = real_grid["Data Fields/1 km 16 days NDVI"]
        our_layer = our_grid["Data Fields/Fpar"]
        assert our_layer.chunks[0] == real_layer.chunks[0] == 1
        assert our_layer.chunks[1] == our_layer.shape[1]
        assert our_layer.compression_opts == real_layer.compression_opts
        for name in ("_FillValue", "add_offset", "grid_mapping", "long_name", "scale_factor", "units", "valid_range"):
            kinds = {layer.attrs[name].dtype.kind.replace("u", "i") for layer in (our_layer, real_layer)}
            assert len(kinds) == 1, name  # both texts, or integers, or floats
        for place in ("Data Fields/Projection", "XDim", "YDim"):
            for name, value in real_grid[place].attrs.items():
                if name != "REFERENCE_LIST":
                    assert our_grid[place].attrs[name] == value, (place, name)
        texts = [file["HDFEOS INFORMATION/StructMetadata.0"][()].decode().rstrip("\0\n") for file in (real, ours)]
        keys = [list(dict.fromkeys(line.split("=")[0] for line in text.splitlines())) for text in texts]
        numbered = [[key for key in of_file if "DataField_" not in key] for of_file in keys]
        assert numbered[1] == numbered[0]
        missing = set(real.attrs) - set(ours.attrs)
        assert not {name for name in missing if "Coord" in name or "TILE" in name or "Range" in name}


@pytest.mark.skipif(not REAL.exists(), reason="the real granule is not in ../shared/data")
def test_xdim_is_made_as_in_a_real_granule() -> None:
    x, y = corners(Tile(18, 9))
    with h5py.File(REAL) as real:
        (grid,) = real["HDFEOS/GRIDS"].values()
        # its pixels are twice as wide, so every second of our corners is one of its own
        np.testing.assert_allclose(x[::2], grid["XDim"][:], rtol=0, atol=1e-9)
        np.testing.assert_allclose(y[::2], grid["YDim"][:], rtol=0, atol=1e-9)


def test_all_layers_store_the_rows_that_any_layer_needs(tmp_path: Path) -> None:
    path = tmp_path / granule_name(TILE, DAY)
    given = {name: np.full((2400, 2400), 255, np.uint8) for name in ("Fpar", "FparLai_QC")}
    given["Fpar"][7, 3] = 50
    given["FparLai_QC"][[7, 2399], 4] = 0
    write_granule(path, TILE, DAY, given)
    with h5py.File(path) as file:
        for name in LAYERS:
            layer = file[f"{GRID}/Data Fields/{name}"]
            stored = []
            layer.id.chunk_iter(lambda chunk, stored=stored: stored.append(chunk.chunk_offset[0]))
            assert stored == [7, 2399], name
            np.testing.assert_array_equal(layer[:], given.get(name, np.full((2400, 2400), 255, np.uint8)))


def test_granule_of_fill_is_small_and_quick(tmp_path: Path) -> None:
    path = tmp_path / granule_name(TILE, DAY)
    full = {name: np.full((2400, 2400), 255, np.uint8) for name in LAYERS}
    start = time.process_time()
    write_granule(path, TILE, DAY, full)
    assert time.process_time() - start < 1
    assert path.stat().st_size < 150_000
    (scene,) = reader(path).check(path).scenes
    assert (reader(path).read(scene, slice(None), slice(None))["Fpar"] == 255).all()


def test_equal_arguments_give_equal_bytes(path: Path, layers: dict[str, np.ndarray], tmp_path: Path) -> None:
    time.sleep(max(0.0, 1.1 - (time.time() - path.stat().st_mtime)))  # a time stamp would now differ
    again = tmp_path / path.name
    write_granule(again, TILE, DAY, layers, attributes={"Simulated": "yes"})
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_wrong_layers_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / granule_name(TILE, DAY)
    with pytest.raises(ValueError, match="Fpar is uint8 \\(1200, 1200\\)"):
        write_granule(path, TILE, DAY, {"Fpar": np.zeros((1200, 1200), np.uint8)})
    with pytest.raises(ValueError, match="Lai is int16"):
        write_granule(path, TILE, DAY, {"Lai": np.zeros((2400, 2400), np.int16)})
    with pytest.raises(ValueError, match="unknown layer 'FPAR'"):
        write_granule(path, TILE, DAY, {"FPAR": np.zeros((2400, 2400), np.uint8)})
    assert list(tmp_path.iterdir()) == []
