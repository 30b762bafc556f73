import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.channel import Channel
from pipeline.cube.channels import to_physical, width_channel
from tests.support.stored_numbers import to_stored

FPAR = Channel("fpar", "FPAR", "1", 0.01, 0.0, "uint8", 255, (0, 100))
INDEX = Channel("index", "an index", "1", 0.0001, -0.5, "int16", -32768, (-10_000, 10_000))


@given(st.lists(st.integers(0, 100) | st.just(255), min_size=1, max_size=50))
def test_stored_fpar_survives_the_way_to_physical_numbers_and_back(values):
    stored = np.array(values, np.uint8)
    np.testing.assert_array_equal(to_stored(to_physical(stored, FPAR), FPAR), stored)


@given(st.lists(st.integers(-10_000, 10_000) | st.just(-32768), min_size=1, max_size=50))
def test_so_do_numbers_with_an_offset(values):
    stored = np.array(values, np.int16)
    np.testing.assert_array_equal(to_stored(to_physical(stored, INDEX), INDEX), stored)


def test_fpar_in_percent_is_the_float_nearest_to_the_fraction():
    np.testing.assert_array_equal(
        to_physical(np.arange(101, dtype=np.uint8), FPAR), np.arange(101, dtype=np.float32) / np.float32(100)
    )


def test_values_beyond_the_range_are_clipped_and_nan_is_missing():
    assert to_stored(np.array([-0.2, 0.004, 0.006, 1.3, np.nan]), FPAR).tolist() == [0, 0, 1, 100, 255]


def test_differences_are_stored_without_the_offset():
    width = width_channel(INDEX)
    assert to_stored(np.array([0.0, 0.5, 3.0, np.nan]), width).tolist() == [0, 5000, 20_000, -32768]
    assert width_channel(FPAR) == FPAR
