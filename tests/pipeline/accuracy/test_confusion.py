import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, cohen_kappa_score, f1_score, normalized_mutual_info_score

from pipeline.accuracy.confusion import Confusion


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


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=200)


@given(PAIRS)
def test_rand_index_and_mutual_information_are_scikit_learns(pairs):
    labels, reference = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    confusion = Confusion.of(labels, reference, 4, 3)
    assert confusion.adjusted_rand_index() == pytest.approx(adjusted_rand_score(reference, labels), abs=1e-9)
    information = normalized_mutual_info_score(reference, labels)
    assert confusion.normalised_mutual_information() == pytest.approx(information, abs=1e-7)


def test_rand_index_of_more_cells_than_64_bits_hold_pairs_of():
    counts = np.array([[4 * 10**9, 10**9], [10**9, 4 * 10**9]])
    assert Confusion(counts).adjusted_rand_index() == pytest.approx(0.36, abs=1e-6)


def test_accuracy_of_classes_follows_the_matching():
    confusion = Confusion(np.array([[10, 90], [80, 0], [10, 10]]))
    assert confusion.matching() == [1, 0]
    assert confusion.matched_class_accuracy() == pytest.approx([0.8, 0.9])
    assert confusion.matched_accuracy() == pytest.approx(170 / 200)


def test_a_class_that_no_label_is_left_for_is_all_wrong():
    confusion = Confusion(np.array([[10, 0, 3], [0, 10, 3]]))
    assert confusion.matching() == [0, 1, None]
    assert confusion.matched_class_accuracy() == [1, 1, 0]
    assert confusion.matched_accuracy() == pytest.approx(20 / 26)


@given(PAIRS, st.permutations(range(4)))
def test_nothing_depends_on_how_labels_are_numbered(pairs, order):
    labels, reference = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    one, other = (Confusion.of(given, reference, 4, 3) for given in (labels, np.array(order)[labels]))
    for figure in ("matched_accuracy", "adjusted_rand_index", "normalised_mutual_information"):
        assert getattr(one, figure)() == pytest.approx(getattr(other, figure)(), abs=1e-12)


def test_no_cells_have_no_indices():
    none = Confusion(np.zeros((2, 2), int))
    assert math.isnan(none.adjusted_rand_index())
    assert math.isnan(none.normalised_mutual_information())
    assert all(math.isnan(share) for share in none.matched_class_accuracy())


def test_f1_and_kappa_of_a_known_matrix():
    confusion = Confusion(np.array([[50, 10], [20, 120]]))
    assert confusion.f1() == pytest.approx([100 / 130, 240 / 270])
    # po = 170 / 200, pe = (60 * 70 + 140 * 130) / 200²
    assert confusion.kappa() == pytest.approx((0.85 - 0.56) / (1 - 0.56))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=100))
def test_f1_and_kappa_are_scikit_learns(pairs):
    labels, reference = (np.array([pair[k] for pair in pairs]) for k in (0, 1))
    confusion = Confusion.of(labels, reference, 3, 3)
    expected = f1_score(reference, labels, labels=[0, 1, 2], average=None, zero_division=np.nan)
    assert confusion.f1() == pytest.approx(expected, nan_ok=True)
    if len(set(labels.tolist()) | set(reference.tolist())) > 1:
        assert confusion.kappa() == pytest.approx(cohen_kappa_score(labels, reference))
    else:
        assert math.isnan(confusion.kappa())


def test_kappa_of_more_cells_than_64_bits_hold_squares_of():
    assert Confusion(np.array([[4 * 10**9, 10**9], [10**9, 4 * 10**9]])).kappa() == pytest.approx(0.6)


def test_no_cells_have_no_f1_and_no_kappa():
    none = Confusion(np.zeros((2, 2), int))
    assert math.isnan(none.kappa())
    assert all(math.isnan(share) for share in none.f1())
