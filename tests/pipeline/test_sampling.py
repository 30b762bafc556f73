import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.executor import InProcess
from pipeline.grid import Shard
from pipeline.progress import Silent
from pipeline.series import allot, fill_with_mean, sample_series


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.integers(0, 5000))
def test_a_sample_is_split_in_proportion(counts, size):
    available = {Shard(0, k): count for k, count in enumerate(counts)}
    quota = allot(available, size)
    assert sum(quota.values()) == min(size, sum(counts))
    for shard, count in available.items():
        assert 0 <= quota[shard] <= count
        if size < sum(counts):
            assert abs(quota[shard] - size * count / sum(counts)) < 1


def test_gaps_are_filled_by_the_mean_of_their_own_series():
    series = np.array([[1, np.nan, 3], [np.nan, 5, np.nan]], np.float32)[:, :, None]
    assert fill_with_mean(series, np.zeros(1))[:, :, 0].tolist() == [[1, 2, 3], [5, 5, 5]]


def test_a_channel_that_a_series_never_observed_takes_the_mean_that_is_given():
    series = np.array([[[1, np.nan], [np.nan, np.nan]], [[3, 4], [5, 8]]], np.float32)
    assert fill_with_mean(series, np.array([3, 6])).tolist() == [[[1, 6], [1, 6]], [[3, 4], [5, 8]]]


def test_the_sample_depends_on_the_seed_alone(finished):
    one, two, other = (sample_series(finished.cube, 100, seed, InProcess(), Silent()) for seed in (1, 1, 2))
    assert one.shape == (100, 46, 1)
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other, equal_nan=True)
    assert not np.isnan(one).all(axis=(1, 2)).any()


def test_a_sample_larger_than_the_country_is_the_country(finished):
    everything = sample_series(finished.cube, 10**6, 0, InProcess(), Silent())
    assert len(everything) == 1687
