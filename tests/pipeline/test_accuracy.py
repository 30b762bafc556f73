import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accuracy import Confusion


def test_figures_of_a_known_matrix():
    confusion = Confusion(np.array([[50, 10], [20, 120]]))
    assert confusion.n == 200
    assert confusion.overall_accuracy() == pytest.approx(170 / 200)
    assert confusion.users_accuracy() == pytest.approx([50 / 60, 120 / 140])
    assert confusion.producers_accuracy() == pytest.approx([50 / 70, 120 / 130])


def test_matching_finds_swapped_labels():
    confusion = Confusion(np.array([[1, 99], [95, 5]]))
    assert confusion.overall_accuracy() == pytest.approx(6 / 200)
    assert confusion.matched_accuracy() == pytest.approx(194 / 200)


def test_more_labels_than_classes_match_one_each():
    assert Confusion(np.array([[10, 0], [0, 20], [5, 5]])).matched_accuracy() == pytest.approx(30 / 40)


def test_no_cells_have_no_accuracy():
    assert math.isnan(Confusion(np.zeros((2, 2), int)).overall_accuracy())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=100), st.integers(0, 100))
def test_counts_of_parts_add_up(pairs, cut):
    labels, reference = (np.array([pair[k] for pair in pairs], int) for k in (0, 1))
    whole = Confusion.of(labels, reference, 3, 2)
    parts = Confusion.of(labels[:cut], reference[:cut], 3, 2) + Confusion.of(labels[cut:], reference[cut:], 3, 2)
    np.testing.assert_array_equal(whole.counts, parts.counts)
    assert all(whole.counts[i, j] == sum(pair == (i, j) for pair in pairs) for i in range(3) for j in range(2))
