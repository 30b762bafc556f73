"""HDF-EOS5 grid files: the grid and its place, attributes of both collections, windows, and wrong indexes."""

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.base.errors import GranuleError
from pipeline.sources.hdfeos.grid_file import open_grid, plain
from pipeline.sources.hdfeos.structure import Structure, parse_structure
from tests.support.paths import DATA

REAL = DATA / "VNP13A2.A2025001.h18v09.002.2025017085341.h5"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="the real granule is not in ../shared/data")
ALL = slice(None)
ROWS, COLUMNS = 60, 48
PLACES = (np.arange(ROWS)[:, None] * COLUMNS + np.arange(COLUMNS)).astype("uint16")
BYTES = (PLACES % 251).astype("uint8")
GZIP: dict[str, Any] = {"chunks": (1, COLUMNS), "compression": "gzip", "fillvalue": 0}
FIELDS = "HDFEOS/GRIDS/Some_Grid/Data Fields"
STRUCTURE = f"""GROUP=GridStructure
\tGROUP=GRID_1
\t\tGridName="Some_Grid"
\t\tXDim={COLUMNS}
\t\tYDim={ROWS}
\t\tUpperLeftPointMtrs=(0.000000,6000.000000)
\t\tLowerRightMtrs=(4800.000000,0.000000)
\t\tProjection=HE5_GCTP_SNSOID
\t\tProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)
\t\tGROUP=DataField
\t\t\tOBJECT=DataField_1
\t\t\t\tDataFieldName="Green"
\t\t\t\tDimList=("YDim","XDim")
\t\t\tEND_OBJECT=DataField_1
\t\tEND_GROUP=DataField
\tEND_GROUP=GRID_1
END_GROUP=GridStructure
END
"""


def write(path: Path, structure: str | None = STRUCTURE, user_block: int = 0, **layers: dict[str, Any]) -> Path:
    """Write a small file with layers made by `create_dataset`."""
    with h5py.File(path, "w", userblock_size=user_block) as file:
        for name, storage in (layers or {"Green": {"data": BYTES, **GZIP}}).items():
            file.create_dataset(f"{FIELDS}/{name}", **storage)
        if structure is not None:
            text = np.bytes_(structure.encode().ljust(2000, b"\0"))
            file["HDFEOS INFORMATION/StructMetadata.0"] = text
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.h5"


def window(path: Path, rows: slice = ALL, columns: slice = ALL, missing: int | None = None) -> np.ndarray:
    with open_grid(path, "Green") as grid:
        return grid.read("Green", rows, columns, missing)


# the real file


@needs_real
def test_a_real_granule_tells_its_grid_place_and_attributes():
    with open_grid(REAL, "1 km 16 days NDVI") as grid:
        assert grid.name == "VIIRS_Grid_16Day_VI_1km"
        assert grid.structure == Structure(
            "VIIRS_Grid_16Day_VI_1km", (1200, 1200), (0.0, 0.0), (1111950.519667, -1111950.519667)
        )
        assert grid.attribute("HorizontalTileNumber") == "18"
        assert grid.attribute("nothing", "ShortName") == "VNP13A2"
        assert grid.attribute("RangeBeginningDate") == "2025-01-01"
        assert grid.attribute("SouthBoundingCoord") == -10.0
        assert grid.attribute("scale_factor", field="1 km 16 days NDVI") == 0.0001
        assert grid.attribute("units", field="1 km 16 days NDVI") == "NDVI"
        assert grid.attribute("_FillValue", field="1 km 16 days NDVI") is None  # two values
        assert grid.attribute("Fpar") is None
        grid.check_fields(["1 km 16 days NDVI", "1 km 16 days EVI"], "int16", -15000)
        with pytest.raises(GranuleError, match="VI Quality: it is uint16"):
            grid.check_fields(["1 km 16 days VI Quality"], "int16", -15000)


@needs_real
def test_windows_of_a_real_granule_are_those_that_h5py_reads():
    with h5py.File(REAL) as file:
        layers = file["HDFEOS/GRIDS/VIIRS_Grid_16Day_VI_1km/Data Fields"]
        expected = {name: layers[name][110:220, 700:1150] for name in ("1 km 16 days NDVI", "1 km 16 days VI Quality")}
    with open_grid(REAL, "1 km 16 days NDVI") as grid:
        for name, values in expected.items():
            got = grid.read(name, slice(110, 220), slice(700, 1150))
            np.testing.assert_array_equal(got, values)
            assert got.dtype == values.dtype
            assert len(np.unique(values)) > 5


# windows, however they are stored

STORAGES: dict[str, dict[str, Any]] = {
    "rows": {"chunks": (1, COLUMNS), "compression": "gzip"},
    "row blocks": {"chunks": (7, COLUMNS), "compression": "gzip"},
    "tiles": {"chunks": (7, 13), "compression": "gzip", "compression_opts": 9},
    "shuffled": {"chunks": (8, 16), "compression": "gzip", "shuffle": True},
    "with checksums": {"chunks": (8, 16), "compression": "gzip", "fletcher32": True},
    "other compression": {"chunks": (8, 16), "compression": "szip"},
    "not packed": {"chunks": (7, 13)},
    "contiguous": {},
}


@pytest.fixture(scope="module", params=STORAGES)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = STORAGES[request.param]
    folder = tmp_path_factory.mktemp("stored")
    return write(
        folder / "file.h5",
        Green={"data": BYTES, **storage},
        Wide={"data": PLACES, **storage},
        Signed={"data": PLACES.astype(">i4") - 1000, **storage},
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edges=st.tuples(*[st.integers(0, ROWS + 3)] * 2, *[st.integers(0, COLUMNS + 3)] * 2))
def test_any_window_of_any_layout_is_the_same(stored, edges):
    rows, columns = slice(*sorted(edges[:2])), slice(*sorted(edges[2:]))
    with open_grid(stored, "Green") as grid:
        np.testing.assert_array_equal(grid.read("Green", rows, columns), BYTES[rows, columns])
        np.testing.assert_array_equal(grid.read("Wide", rows, columns), PLACES[rows, columns])
        np.testing.assert_array_equal(grid.read("Signed", rows, columns), PLACES[rows, columns].astype(int) - 1000)


def test_every_layout_passes_the_check_and_a_wrong_type_does_not(stored):
    with open_grid(stored, "Green") as grid:
        grid.check_fields(["Green"], "uint8", 255)
        grid.check_fields(["Wide"], "uint16", 255)
        with pytest.raises(GranuleError, match="Wide: it is uint16"):
            grid.check_fields(["Green", "Wide"], "uint8", 255)


def test_a_file_with_a_user_block_is_read(path):
    write(path, user_block=1024)
    np.testing.assert_array_equal(window(path), BYTES)
    np.testing.assert_array_equal(window(path, slice(3, 50), slice(5, 6)), BYTES[3:50, 5:6])


def test_files_of_the_newest_format_are_read(tmp_path):
    write(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5") as old, h5py.File(tmp_path / "new.h5", "w", libver="latest") as new:
        for name in old:
            old.copy(name, new)
        del new[f"{FIELDS}/Green"]
        new.create_dataset(f"{FIELDS}/Green", data=BYTES, **GZIP)
    np.testing.assert_array_equal(window(tmp_path / "new.h5"), BYTES)


def test_only_chunks_that_the_window_touches_are_decoded(path):
    write(path, Green={"data": BYTES, "chunks": (10, COLUMNS), "compression": "gzip"})
    with h5py.File(path) as file:
        chunk = file[f"{FIELDS}/Green"].id.get_chunk_info_by_coord((20, 0))
    patch(path, chunk.byte_offset, bytes(chunk.size))
    for rows in (slice(0, 20), slice(30, 60)):
        np.testing.assert_array_equal(window(path, rows), BYTES[rows])
    for rows in (slice(19, 21), slice(29, 31)):
        with pytest.raises(GranuleError, match=r"file.h5: Green: pixels cannot be decoded"):
            window(path, rows)


def test_windows_have_step_one(path):
    write(path)
    with pytest.raises(ValueError, match="step 1"):
        window(path, slice(0, 10, 2))


def test_the_file_is_closed_even_after_a_fault(path):
    write(path)
    with pytest.raises(GranuleError, match="Red"), open_grid(path, "Green") as grid:
        grid.read("Red", ALL, ALL)
    with h5py.File(path, "r+"):  # cannot be opened for writing while it is open for reading
        pass


# rows that are not stored


def write_sparse(path: Path, **layers: tuple[int, slice]) -> None:
    write(path, **{name: {"shape": BYTES.shape, "dtype": "u1", **GZIP, "fillvalue": fill}
                   for name, (fill, _) in layers.items()})  # fmt: skip
    with h5py.File(path, "r+") as file:
        for name, (_, rows) in layers.items():
            file[f"{FIELDS}/{name}"][rows] = BYTES[rows]


@pytest.mark.parametrize("rows", [slice(10, 40), slice(0, 0), slice(0, ROWS)])
def test_rows_that_are_left_out_are_fill_where_the_file_says_so(path, rows):
    write_sparse(path, Green=(255, rows))
    expected = np.full_like(BYTES, 255)
    expected[rows] = BYTES[rows]
    np.testing.assert_array_equal(window(path, missing=255), expected)
    with open_grid(path, "Green") as grid:
        grid.check_fields(["Green"], "uint8", 255)


@pytest.mark.parametrize("storage", [GZIP, {}])
def test_rows_that_are_left_out_are_never_the_declared_zero(path, storage):
    write(path, Green={"shape": BYTES.shape, "dtype": "u1", **storage})
    with pytest.raises(GranuleError, match="rows are not stored, and the fill value 0"):
        window(path, missing=255)
    with open_grid(path, "Green") as grid, pytest.raises(GranuleError, match="rows are not stored"):
        grid.check_fields(["Green"], "uint8", 255)


def test_layers_must_have_the_same_rows(path):
    write_sparse(path, Green=(255, slice(10, 40)), Red=(255, slice(10, 41)), Blue=(255, slice(10, 40)))
    with open_grid(path, "Green") as grid:
        grid.check_fields(["Green", "Blue"], "uint8", 255)
        with pytest.raises(GranuleError, match="Green, Red do not have the same rows stored"):
            grid.check_fields(["Green", "Red"], "uint8", 255)


# indexes that lie


def patch(path: Path, place: int, new: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[place : place + len(new)] = new
    path.write_bytes(content)


def entry_of(path: Path, layer: str, row: int) -> tuple[int, tuple[int, int, int]]:
    """Find a row's entry in the chunk index: (size, byte offset, row); its address follows after 32 bytes."""
    with h5py.File(path) as file:
        chunk = file[f"{FIELDS}/{layer}"].id.get_chunk_info_by_coord((row, 0))
    listed = struct.pack("<IIQQQQ", chunk.size, 0, row, 0, 0, chunk.byte_offset)
    content = path.read_bytes()
    assert content.count(listed) == 1
    return content.index(listed), (chunk.size, chunk.byte_offset, row)


@pytest.mark.parametrize(
    ("at", "new", "reason"),
    [
        (0, struct.pack("<I", 1 << 30), "outside the file"),
        (4, struct.pack("<I", 1), "filters were skipped"),
        (8, struct.pack("<Q", 22), "out of order|chunk index"),
        (8, struct.pack("<Q", 1 << 40), "chunk index"),
        (8, struct.pack("<Q", 1 << 63), "chunk index"),
        (32, struct.pack("<Q", 1 << 40), "outside the file"),
    ],
)
def test_an_index_with_an_entry_out_of_order_is_refused(path, at, new, reason):
    write(path)
    place, _ = entry_of(path, "Green", 20)
    patch(path, place + at, new)
    with pytest.raises(GranuleError, match=f"file.h5: Green: .*({reason})"):
        window(path)
    with open_grid(path, "Green") as grid, pytest.raises(GranuleError, match=reason):
        grid.check_fields(["Green"], "uint8", 255)


def test_an_index_that_points_to_another_row_is_refused(path):
    write(path)
    (place, _), (_, (_, other, _)) = entry_of(path, "Green", 20), entry_of(path, "Green", 31)
    patch(path, place + 32, struct.pack("<Q", other))
    with pytest.raises(GranuleError, match="same bytes of the file twice"):
        window(path)


def test_an_index_that_points_into_another_layer_is_refused(path):
    write(path, Green={"data": BYTES, **GZIP}, Red={"data": BYTES[::-1], **GZIP})
    (place, _), (_, (size, other, _)) = entry_of(path, "Green", 20), entry_of(path, "Red", 31)
    patch(path, place, struct.pack("<I", size))
    patch(path, place + 32, struct.pack("<Q", other))
    with open_grid(path, "Green") as grid, pytest.raises(GranuleError, match="same bytes of the file twice"):
        grid.check_fields(["Green"], "uint8", 255)


@pytest.mark.parametrize(("storage", "number"), [({"scaleoffset": 4}, 6), ({"compression": "lzf"}, 32000)])
def test_filters_that_no_product_uses_are_refused(path, storage, number):
    write(path, Green={"data": PLACES.astype("int32") // 9, "chunks": (10, 12), **storage})
    with pytest.raises(GranuleError, match=f"HDF5 filter {number}"):
        window(path)


# where the grid lies


@pytest.mark.parametrize("name", ["VNP_Grid_VNP15A2H", "VIIRS_Grid_LAIFPAR"])
def test_the_grid_is_discovered_whatever_it_is_called(path, name):
    write(path, STRUCTURE.replace("Some_Grid", name))
    with h5py.File(path, "r+") as file:
        file.move("HDFEOS/GRIDS/Some_Grid", f"HDFEOS/GRIDS/{name}")
    with open_grid(path, "Green") as grid:
        assert grid.name == grid.structure.name == name
        np.testing.assert_array_equal(grid.read("Green", ALL, ALL), BYTES)


def test_of_several_grids_the_one_with_the_field_is_taken_and_its_own_place(path):
    inner = STRUCTURE[STRUCTURE.index("\tGROUP=GRID_1") : STRUCTURE.index("END_GROUP=GridStructure")]
    other = inner.replace("GRID_1", "GRID_2").replace("Some_Grid", "Other").replace("6000.0", "9000.0")
    both = STRUCTURE.replace("END_GROUP=GridStructure", other + "END_GROUP=GridStructure")
    write(path, both)
    with h5py.File(path, "r+") as file:
        file["HDFEOS/GRIDS/Other/Data Fields/Red"] = BYTES
    with open_grid(path, "Green") as grid:
        assert (grid.name, grid.structure.upper_left) == ("Some_Grid", (0.0, 6000.0))
    with open_grid(path, "Red") as grid:
        assert (grid.name, grid.structure.upper_left) == ("Other", (0.0, 9000.0))
    with pytest.raises(GranuleError, match="describes 2 grids, and not one of them is Third"):
        parse_structure(both, "Third", "Green", "file.h5")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("HE5_GCTP_SNSOID", "HE5_GCTP_GEO", "the projection HE5_GCTP_GEO, not HE5_GCTP_SNSOID"),
        ("6371007.181000,0", "6378137.000000,0", "not the sphere"),
        ("6371007.181000,0,0,0,0", "6371007.181000,0,0,0,9000000", "not the sphere"),
        ("UpperLeftPointMtrs", "UpperLeftPoint", "no UpperLeftPointMtrs"),
        ("(4800.000000,0.000000)", "(4800.000000)", r"LowerRightMtrs=\(4800.0,\), not x and y"),
        ("(4800.000000,0.000000)", "(4800.0.0,0.000000)", "no LowerRightMtrs that can be read"),
        ("(4800.000000,0.000000)", "(-4800.000000,0.000000)", "the wrong way round"),
        ("XDim=48", "XDim=", "no XDim"),
        ('("YDim","XDim")', '("XDim","YDim")', "stored by columns"),
    ],
)
def test_a_structure_that_cannot_be_believed_is_refused(path, old, new, reason):
    write(path, STRUCTURE.replace(old, new))
    with pytest.raises(GranuleError, match=reason) as caught:
        window(path)
    assert str(caught.value).startswith("file.h5: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Projection=HE5_GCTP_SNSOID", ""),
        ("Projection=HE5_GCTP_SNSOID", "Projection=GCTP_SNSOID"),
        ("ProjParams=(6371007.181000,0,0,0,0,0,0,0,0,0,0,0,0)", ""),
        ("GROUP=GRID_1", ""),
    ],
)
def test_what_a_structure_leaves_out_is_no_fault(path, old, new):
    write(path, STRUCTURE.replace(old, new))
    with open_grid(path, "Green") as grid:
        assert grid.structure == Structure("Some_Grid", (ROWS, COLUMNS), (0.0, 6000.0), (4800.0, 0.0))
        np.testing.assert_array_equal(grid.read("Green", ALL, ALL), BYTES)


def test_a_file_without_a_structure_is_refused(path):
    write(path, structure=None)
    with pytest.raises(GranuleError, match=r"StructMetadata.0 is missing"):
        window(path)


def with_axes(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    write(path)
    with h5py.File(path, "r+") as file:
        file["HDFEOS/GRIDS/Some_Grid/XDim"] = x
        file["HDFEOS/GRIDS/Some_Grid/YDim"] = y


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_axes_may_hold_corners_or_centres(path, dtype, shift):
    with_axes(path, (100.0 * np.arange(COLUMNS) + shift).astype(dtype), 6000 - 100.0 * np.arange(ROWS) - shift)
    np.testing.assert_array_equal(window(path), BYTES)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (100.0 * np.arange(COLUMNS) + 25, "contradicts the corners"),
        (100.0 * np.arange(COLUMNS)[::-1], "contradicts the corners"),
        (100.1 * np.arange(COLUMNS), "contradicts the corners"),
        (np.full(COLUMNS, np.nan), "contradicts the corners"),
        (100.0 * np.arange(COLUMNS - 1), "not the places of 48 pixels"),
        (100 * np.arange(COLUMNS), "not the places of 48 pixels"),
    ],
)
def test_axes_that_contradict_the_corners_are_refused(path, x, reason):
    with_axes(path, x, 6000 - 100.0 * np.arange(ROWS))
    with pytest.raises(GranuleError, match=f"file.h5: XDim: .*{reason}"):
        window(path)


# attributes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([0.01]), 0.01),
        (np.float32(0.5), 0.5),
        (np.array([255], np.uint8), 255.0),
        (np.array([b"reflectance\0\0"]), "reflectance"),
        (np.bytes_(b"18"), "18"),
        ("0-100 \n", "0-100"),
        (np.array(["text"], object), "text"),
        (b"\xff!", "\ufffd!"),
        (np.array([1, 2]), None),
        (np.array([]), None),
        (h5py.Empty("f4"), None),
    ],
)
def test_attributes_of_every_dialect_become_plain_values(value, expected):
    assert plain(value) == expected


def test_attributes_are_found_whatever_their_case_and_by_any_of_their_spellings(path):
    write(path)
    with h5py.File(path, "r+") as file:
        file.attrs["HORIZONTALTILENUMBER"] = np.bytes_("18")
        file[f"{FIELDS}/Green"].attrs["offset"] = 2.5
        file[f"{FIELDS}/Green"].attrs["_Fillvalue"] = np.array([249], np.uint8)
    with open_grid(path, "Green") as grid:
        assert grid.attribute("HorizontalTileNumber") == "18"
        assert grid.attribute("add_offset", "offset", field="Green") == 2.5
        assert grid.attribute("_FillValue", field="Green") == 249.0
        assert grid.attribute("valid_range", field="Green") is None
