"""Counts of the cells of a map in those of a grid: exact where they nest, by centres where they do not."""

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin
from shapely.geometry import box

from pipeline.references import eucropmap
from pipeline.references import majority as counting
from pipeline.references.majority import majority, windows
from pipeline.references.placement import place
from tests.support.class_maps import CORNER, write_map

CELLS = GeoBox((6, 4), from_origin(*CORNER, 1000, 1000), "EPSG:3035")
CODES = (100, 211, 216, 233, 300, 500)


@dataclass(frozen=True)
class InMemory:
    """A map that is an array."""

    codes: np.ndarray
    geobox: GeoBox
    block: tuple[int, int] = (16, 16)
    missing: tuple[int, ...] = (0,)
    name: str = "a map"

    @contextmanager
    def open(self):
        yield self

    def read(self, rows, columns):
        return np.ascontiguousarray(self.codes[rows, columns])


def on_100_m(codes, corner=CORNER, **settings):
    return InMemory(codes, GeoBox(codes.shape, from_origin(*corner, 100, 100), "EPSG:3035"), **settings)


def by_hand(source, target, codes=CODES):
    """Return code, share and number of every cell, with every centre transformed."""
    rows, columns = np.indices(source.geobox.shape).reshape(2, -1)
    x, y = source.geobox.transform @ (columns + 0.5, rows + 0.5)
    if source.geobox.crs != target.crs:
        x, y = source.geobox.crs.transformer_to_crs(target.crs)(x, y)
    across, down = ~target.transform @ (np.asarray(x), np.asarray(y))
    ny, nx = target.shape
    inside = (down >= 0) & (down < ny) & (across >= 0) & (across < nx)
    counts = np.zeros((len(codes), ny, nx), int)
    for k, code in enumerate(codes):
        of = inside & (source.codes.ravel() == code)
        np.add.at(counts[k], (down[of].astype(int), across[of].astype(int)), 1)
    total = counts.sum(axis=0)
    best = np.where(total > 0, np.array(codes)[counts.argmax(axis=0)], 0)
    share = np.where(total > 0, np.rint(100 * counts.max(axis=0) / np.maximum(total, 1)), 255)
    return best, share, total


def same(found, expected):
    for one, other in zip((found.code, found.share, found.n_valid), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def random_codes(shape, dtype=np.int16, seed=0):
    """Return codes, some without a class, some cells entirely so."""
    codes = np.random.default_rng(seed).choice(np.array([0, 211, 216, 300, 500]), shape, p=[0.3, 0.2, 0.2, 0.2, 0.1])
    codes[: shape[0] // 6, : shape[1] // 4] = 0
    return codes.astype(dtype)


def test_types_of_the_results():
    found = majority(on_100_m(random_codes((60, 40))), CELLS, CODES)
    assert (found.code.dtype, found.share.dtype, found.n_valid.dtype) == (np.int16, np.uint8, np.uint32)


def test_majority_over_all_codes_against_counting_cell_by_cell():
    codes = random_codes((60, 40))
    found = majority(on_100_m(codes), CELLS, CODES)
    for i, j in np.ndindex(tuple(CELLS.shape)):
        block = codes[10 * i : 10 * i + 10, 10 * j : 10 * j + 10]
        values, counts = np.unique(block[block != 0], return_counts=True)
        if not len(values):
            assert (found.code[i, j], found.share[i, j], found.n_valid[i, j]) == (0, 255, 0)
            continue
        assert found.code[i, j] == values[counts.argmax()]  # np.unique sorts, so of several as frequent the smallest
        assert found.share[i, j] == np.rint(100 * counts.max() / counts.sum())
        assert found.n_valid[i, j] == counts.sum()


def test_nested_cells_are_exact_on_a_map_whose_codes_are_places():
    """Every 10 x 10 block has a code of its own; one cell off anywhere would show in share and code."""
    places = np.arange(1, 25).reshape(6, 4)
    found = majority(on_100_m(np.kron(places, np.ones((10, 10), int)).astype(np.int16)), CELLS, tuple(range(1, 25)))
    same(found, (places, np.full((6, 4), 100), np.full((6, 4), 100)))


def test_non_crop_wins_where_it_is_most_frequent():
    codes = np.zeros((60, 40), np.int16)
    codes[:10, :10] = 300
    codes[:10, :4] = 211
    found = majority(on_100_m(codes), CELLS, CODES)
    assert (found.code[0, 0], found.share[0, 0], found.n_valid[0, 0]) == (300, 60, 100)
    assert not found.code[1:].any()
    assert not found.n_valid[1:].any()
    assert (found.share[1:] == 255).all()


def test_of_two_as_frequent_the_smaller_code_wins():
    codes = np.full((60, 40), 233, np.int16)
    codes[:, ::2] = 216
    found = majority(on_100_m(codes), CELLS, CODES)
    assert (found.code == 216).all()
    assert (found.share == 50).all()


def test_a_map_that_covers_part_of_the_cells():
    codes = np.full((30, 20), 211, np.uint8)
    found = majority(on_100_m(codes, (CORNER[0] + 1050, CORNER[1] - 950)), CELLS, CODES)
    expected = np.zeros(CELLS.shape, int)
    expected[1:4, 1:4] = (
        90,
        100,
        10,
    )  # centres begin and end on edges of cells, where they count for the cell below and right
    np.testing.assert_array_equal(found.n_valid, expected)


def test_a_map_beside_the_cells_gives_nothing():
    found = majority(on_100_m(random_codes((60, 40)), (CORNER[0] + 100_000, CORNER[1])), CELLS, CODES)
    assert not found.n_valid.any()
    assert not found.code.any()


@pytest.mark.parametrize("nodata", [0, 255, 17])
def test_the_file_s_no_data_and_zero_do_not_count(tmp_path, nodata):
    codes = random_codes((60, 40), np.uint8) % 200 + (random_codes((60, 40)) == 500).astype(np.uint8) * nodata
    path = write_map(tmp_path / "map.tif", codes, nodata=nodata)
    numbers = tuple(int(code) for code in np.unique(codes) if code not in (0, nodata))
    found = majority(eucropmap.find(path, None, box(0, 0, 1, 1)), CELLS, numbers)
    same(found, by_hand(on_100_m(codes), CELLS, numbers))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32"])
def test_whole_numbers_of_any_type_are_read(tmp_path, dtype):
    codes = (random_codes((60, 40)) % 200).astype(dtype)
    numbers = tuple(int(code) for code in np.unique(codes) if code)
    path = write_map(tmp_path / "map.tif", codes)
    same(
        majority(eucropmap.find(path, None, box(0, 0, 1, 1)), CELLS, numbers), by_hand(on_100_m(codes), CELLS, numbers)
    )


@settings(max_examples=40, deadline=None)
@example(rows=1, columns=1, block=(1, 10), side=1, few=1, most=1, shift=(0, 0))  # rows longer than a whole window
@given(
    rows=st.integers(1, 70), columns=st.integers(1, 70), block=st.tuples(st.integers(1, 40), st.integers(1, 100)),
    side=st.integers(1, 8), few=st.sampled_from([1, 8, 1000]), most=st.integers(1, 12),
    shift=st.tuples(st.integers(-300, 300), st.integers(-300, 300)),
)  # fmt: skip
def test_windows_parts_and_ways_of_counting_leave_no_seam(rows, columns, block, side, few, most, shift):
    source = on_100_m(random_codes((80, 70)), (CORNER[0] + 10 * shift[0], CORNER[1] + 10 * shift[1]), block=block)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_ROWS", rows), ("_COLUMNS", columns), ("_SIDE", side), ("_FEW", few), ("_MOST", most)):
            patch.setattr(counting, name, value)
        same(majority(source, CELLS, CODES), by_hand(source, CELLS))


@settings(max_examples=40, deadline=None)
@given(
    span=st.tuples(st.integers(0, 9000), st.integers(1, 9000)),
    across=st.tuples(st.integers(0, 9000), st.integers(1, 9000)),
    block=st.tuples(st.sampled_from([1, 7, 256, 512, 20_000]), st.sampled_from([16, 256, 9000, 100_000])),
)  # fmt: skip
def test_windows_cover_every_cell_once_and_break_at_blocks(span, across, block):
    rows, columns = (slice(start, start + n) for start, n in (span, across))
    covered = np.zeros((rows.stop, columns.stop), np.uint8)
    for row, column in windows(rows, columns, block):
        covered[row, column] += 1
        if block[0] <= 512:
            assert row.start == rows.start or row.start % block[0] == 0
    assert (covered[rows, columns] == 1).all()
    assert covered.sum() == (rows.stop - rows.start) * (columns.stop - columns.start)


@settings(max_examples=30, deadline=None)
@given(
    longitude=st.floats(7, 18), latitude=st.floats(36, 47), cell=st.sampled_from([1e-4, 3e-4, 1e-3, 2e-3, 1e-2]),
    size=st.sampled_from([250, 1000, 3000]), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_map_in_degrees_is_counted_as_if_every_centre_were_transformed(longitude, latitude, cell, size, seed):
    codes = random_codes((150, 170), seed=seed)
    source = InMemory(codes, GeoBox(codes.shape, from_origin(longitude, latitude, cell, cell), "EPSG:4326"))
    bounds = source.geobox.extent.to_crs("EPSG:3035").boundingbox
    # some of the map lies outside, some cells lie off the map
    corner = size * (bounds.left // size + 2), size * (bounds.top // size - 1)
    target = GeoBox((12, 12), from_origin(*corner, size, size), "EPSG:3035")
    same(majority(source, target, CODES), by_hand(source, target))


def test_centres_close_to_an_edge_are_placed_exactly():
    """A fine map along a meridian at which rows of the grid run parallel to those of the map."""
    source = GeoBox((3000, 64), from_origin(9.999, 45.0, 1e-5, 1e-5), "EPSG:4326")
    bounds = source.extent.to_crs("EPSG:3035").boundingbox
    target = GeoBox((40, 20), from_origin(10 * (bounds.left // 10), 10 * (bounds.top // 10 + 1), 10, 10), "EPSG:3035")
    placement = place(source, target)
    rows, columns = np.indices(source.shape)
    down, across = placement.exact(rows, columns)
    inside = (down >= 0) & (down < 40) & (across >= 0) & (across < 20)
    assert inside.any()
    found = np.full(source.shape, -1)
    for band in placement.bands(slice(0, 3000), slice(0, 64)):
        height, width = (side.stop - side.start for side in band.box)
        i, j = band.cells // max(width, 1) + band.box[0].start, band.cells % max(width, 1) + band.box[1].start
        found[band.rows] = np.where(band.cells < height * width, i * 20 + j, -1)
    np.testing.assert_array_equal(found, np.where(inside, np.floor(down) * 20 + np.floor(across), -1))


def test_a_rotated_map_is_counted_by_its_centres():
    codes = random_codes((80, 90))
    turned = Affine.translation(CORNER[0] + 500, CORNER[1] + 1500) @ Affine.rotation(-30) @ Affine.scale(70, -70)
    source = InMemory(codes, GeoBox(codes.shape, turned, "EPSG:3035"))
    same(majority(source, CELLS, CODES), by_hand(source, CELLS))


def test_a_map_whose_rows_run_north_is_counted_the_right_way_up():
    codes = random_codes((60, 40))
    upright = on_100_m(codes)
    south = Affine(100, 0, CORNER[0], 0, 100, CORNER[1] - 6000)
    turned = replace(upright, codes=codes[::-1].copy(), geobox=GeoBox(codes.shape, south, "EPSG:3035"))
    same(majority(turned, CELLS, CODES), by_hand(upright, CELLS))
