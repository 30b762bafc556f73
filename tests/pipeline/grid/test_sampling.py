import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fillings import fill_with_mean
from pipeline.cube import layout, stores
from pipeline.cube.series import mapped_series
from pipeline.grid.grid import Shard
from pipeline.grid.sampling import along_blocks, draw
from pipeline.runtime.executor import InProcess
from pipeline.stages.context import Run
from pipeline.stages.train.sample import sample_series, series_by_shard

SIDE = 16  # cells of the shards of a made-up country
masks = st.builds(
    lambda seed, share, n_shards: np.random.default_rng(seed).random((SIDE * n_shards, SIDE * n_shards)) < share,
    st.integers(0, 2**31),
    st.sampled_from([0.01, 0.3, 1.0]),
    st.sampled_from([1, 2, 4]),
)


def drawn_cells(mask: np.ndarray, size: int, seed: int) -> np.ndarray:
    """A country cut into shards, and how often each of its cells is drawn."""
    n = len(mask) // SIDE
    windows = {
        Shard(i, j): (slice(SIDE * i, SIDE * i + SIDE), slice(SIDE * j, SIDE * j + SIDE))
        for i in range(n)
        for j in range(n)
    }
    places = draw({shard: int(mask[window].sum()) for shard, window in windows.items()}, size, seed)
    count = np.zeros(mask.shape, int)
    for shard, chosen in places.items():
        rows, columns = along_blocks(mask[windows[shard]])
        np.add.at(count[windows[shard]], (rows[chosen], columns[chosen]), 1)
    return count


@settings(deadline=None)
@given(masks, st.integers(0, 5000), st.integers(0, 2**31))
def test_a_sample_has_exactly_its_size_and_no_cell_twice(mask, size, seed):
    count = drawn_cells(mask, size, seed)
    assert count.sum() == min(size, mask.sum())
    assert count.max() <= 1
    assert (count[~mask] == 0).all()


@settings(deadline=None)
@given(masks, st.integers(1, 5000), st.integers(0, 2**31))
def test_every_quarter_and_every_sixteenth_of_the_country_gets_its_share(mask, size, seed):
    count = drawn_cells(mask, size, seed)
    share = min(1, size / max(1, mask.sum()))
    for parts in (2, 4):
        side = len(mask) // parts
        for i in range(parts):
            for j in range(parts):
                window = slice(side * i, side * i + side), slice(side * j, side * j + side)
                assert abs(count[window].sum() - share * mask[window].sum()) < 2


def test_every_cell_is_as_likely_as_any_other():
    mask = np.random.default_rng(0).random((SIDE, SIDE)) < 0.5
    often = sum(drawn_cells(mask, 20, seed) for seed in range(2000))[mask]
    expected = 2000 * 20 / mask.sum()
    assert np.abs(often - expected).max() < 6 * np.sqrt(expected) + 0.2 * expected  # intervals differ by one cell


def test_blocks_follow_each_other_halves_first():
    rows, columns = along_blocks(np.ones((6, 10), bool))
    quarter = [(row // 3, column // 5) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)]
    assert quarter == sorted(quarter)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 60
    assert [part.size for part in along_blocks(np.zeros((3, 3), bool))] == [0, 0]


def test_gaps_are_filled_by_the_mean_of_their_own_series():
    series = np.array([[1, np.nan, 3], [np.nan, 5, np.nan]], np.float32)[:, :, None]
    assert fill_with_mean(series, np.zeros(1))[:, :, 0].tolist() == [[1, 2, 3], [5, 5, 5]]


def test_a_channel_that_a_series_never_observed_takes_the_mean_that_is_given():
    series = np.array([[[1, np.nan], [np.nan, np.nan]], [[3, 4], [5, 8]]], np.float32)
    assert fill_with_mean(series, np.array([3, 6])).tolist() == [[[1, 6], [1, 6]], [[3, 4], [5, 8]]]


def test_the_sample_depends_on_the_seed_alone(finished):
    one, two, other = (sample_series(Run(finished), 100, seed) for seed in (1, 1, 2))
    assert one.series.shape == (100, 46, 1)
    for name in ("series", "row", "column"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.series, other.series, equal_nan=True)
    assert not np.isnan(one.series).all(axis=(1, 2)).any()


def test_the_order_in_which_shards_are_ready_does_not_matter(finished):
    class Backwards(InProcess):
        def run(self, function, items, *, name, gpu=False):
            yield from reversed(list(super().run(function, items, name=name, gpu=gpu)))

    one, other = (sample_series(Run(finished, executor), 100, 1) for executor in (InProcess(), Backwards()))
    np.testing.assert_array_equal(one.series, other.series)
    np.testing.assert_array_equal(one.row, other.row)


@pytest.mark.parametrize("size", [100, 10**6])
def test_a_sample_knows_the_cells_that_its_series_belong_to(finished, size):
    sample = sample_series(Run(finished), size, 0)
    group = stores.open_to_read(finished.cube)
    fpar = layout.array(group, "fpar")[:][:, sample.row, sample.column].T
    np.testing.assert_array_equal(np.isnan(sample.series[..., 0]), fpar == 255)
    np.testing.assert_allclose(sample.series[..., 0][fpar != 255], fpar[fpar != 255] / 100, rtol=1e-6)
    assert (layout.array(group, "train_mask")[:][sample.row, sample.column] == 1).all()
    assert len({*zip(sample.row.tolist(), sample.column.tolist(), strict=True)}) == len(sample.series)


def test_a_sample_larger_than_the_country_is_the_country(finished):
    everything = sample_series(Run(finished), 10**6, 0)
    assert len(everything.series) == 1687


def test_all_series_come_shard_by_shard(finished):
    parts = list(series_by_shard(finished.cube))
    assert len(parts) == 9
    group = stores.open_to_read(finished.cube)
    whole, _ = mapped_series(group, (slice(0, None), slice(0, None)), "train_mask")
    assert sum(map(len, parts)) == len(whole)
    first = np.concatenate(parts)
    np.testing.assert_array_equal(*(np.sort(np.nansum(series, (1, 2))) for series in (first, whole)))
