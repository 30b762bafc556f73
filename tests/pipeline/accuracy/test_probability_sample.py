import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accuracy.probability_sample import Drawn, allocate, keys


def test_no_two_cells_have_the_same_key():
    rows, columns = (part.ravel() for part in np.mgrid[0:700, 0:700])
    assert len(np.unique(keys(3, rows, columns))) == 700 * 700


def test_keys_follow_from_seed_and_place_alone():
    rows, columns = np.array([5, 9, 200_000]), np.array([7, 7, 150_000])
    np.testing.assert_array_equal(keys(1, rows, columns)[1:], keys(1, rows[1:], columns[1:]))
    assert (keys(1, rows, columns) != keys(2, rows, columns)).all()
    assert (keys(2**70, rows, columns) != keys(1, rows, columns)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_keys_are_as_uniform_as_chance_and_know_nothing_of_the_place(seed):
    rows, columns = (part.ravel() for part in np.mgrid[0:400, 0:400])
    key = keys(seed, rows, columns) / 2.0**64
    counts = np.histogram(key, bins=100, range=(0, 1))[0]
    assert ((counts - 1600) ** 2 / 1600).sum() < 150  # chi-square of 99 degrees of freedom: 0.1 % lie above 148
    assert abs(np.corrcoef(key, rows)[0, 1]) < 0.01
    assert abs(np.corrcoef(key.reshape(400, 400)[:, 1:].ravel(), key.reshape(400, 400)[:, :-1].ravel())[0, 1]) < 0.01


CELLS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), max_size=60)


@given(CELLS, st.integers(0, 60), st.integers(0, 10), st.randoms())
def test_parts_in_any_order_give_the_sample_of_the_whole(cells, cut, size, random):
    group, value = (np.array([cell[k] for cell in cells], int) for k in (0, 1))
    key = keys(0, np.arange(len(cells)), np.zeros(len(cells), int))
    whole = Drawn.of(group, key, value, size)
    order = np.array(random.sample(range(len(cells)), len(cells)), int)
    group, key, value = group[order], key[order], value[order]
    one, other = (Drawn.of(group[part], key[part], value[part], size) for part in (slice(cut), slice(cut, None)))
    for joined in (one + other, other + one, Drawn.empty(size) + one + other):
        for name in ("group", "key", "value"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_the_cells_with_the_smallest_keys_are_drawn():
    group, key = np.array([0, 1, 0, 0, -1, 1]), np.array([9, 1, 3, 5, 0, 2], np.uint64)
    drawn = Drawn.of(group, key, np.arange(6), 2)
    assert drawn.values(0, 9).tolist() == [2, 3]
    assert drawn.values(0, 1).tolist() == [2]
    assert drawn.values(1, 9).tolist() == [1, 5]
    assert drawn.values(2, 9).tolist() == []


def test_every_cell_is_drawn_as_often_as_any_other():
    rows, columns = (part.ravel() for part in np.mgrid[0:10, 0:10])
    times = np.zeros(100)
    for seed in range(1000):
        drawn = Drawn.of(np.zeros(100, int), keys(seed, rows, columns), np.arange(100), 20)
        times[drawn.values(0, 20)] += 1
    assert ((times - 200) ** 2 / (200 * 0.8)).sum() < 150


def test_strata_share_a_sample_equally_and_small_ones_give_what_they_cannot_take():
    assert allocate([1000, 1000], 400) == [200, 200]
    assert allocate([1000, 1000, 1000], 400) == [133, 133, 134]
    assert allocate([1000, 50], 400) == [350, 50]
    assert allocate([1000, 0, 10, 300], 900) == [590, 0, 10, 300]
    assert allocate([3, 4], 400) == [3, 4]
    assert allocate([0, 0], 400) == [0, 0]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=6), st.integers(0, 200))
def test_a_sample_is_given_out_whole_and_to_nobody_more_than_there_is(available, total):
    given_out = allocate(available, total)
    assert sum(given_out) == min(total, sum(available))
    assert all(0 <= n <= most for n, most in zip(given_out, available, strict=True))
    full = [n == most for n, most in zip(given_out, available, strict=True)]
    others = [n for n, is_full in zip(given_out, full, strict=True) if not is_full]
    assert not others or max(given_out) - min(others) <= 1
