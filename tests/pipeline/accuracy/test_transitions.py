import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.accuracy.transitions import TransitionSample
from pipeline.stages.change.map import Counts
from pipeline.stages.change.transitions import MOST_LABELS, transition_codes, transition_names


@st.composite
def two_years(draw):
    n_labels = draw(st.integers(1, MOST_LABELS))
    values = st.one_of(st.integers(0, n_labels - 1), st.just(255))
    shape = (2, draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    label = draw(arrays(np.uint8, shape, elements=values))
    confidence = draw(arrays(np.uint8, shape, elements=st.one_of(st.integers(0, 100), st.just(255))))
    return n_labels, label, confidence


@given(two_years())
def test_transitions_add_up_to_the_mapped_cells_of_each_year(years):
    n_labels, label, confidence = years
    counts = Counts.of(label, confidence, n_labels)
    for k in range(n_labels):
        assert counts.cells[k].sum() + counts.only[0, k] == (label[0] == k).sum()
        assert counts.cells[:, k].sum() + counts.only[1, k] == (label[1] == k).sum()
    assert (counts.sure <= counts.cells).all()
    assert (counts.both_right <= 10_000 * counts.sure).all()


@given(two_years(), st.integers(0, 12))
def test_counts_of_parts_add_up_to_those_of_the_whole(years, cut):
    n_labels, label, confidence = years
    parts = Counts.of(label[:, :cut], confidence[:, :cut], n_labels)
    parts = Counts.from_json((parts + Counts.of(label[:, cut:], confidence[:, cut:], n_labels)).as_json())
    whole = Counts.of(label, confidence, n_labels)
    for name in ("cells", "only", "sure", "both_right"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@given(two_years())
def test_a_code_tells_both_labels(years):
    n_labels, (first, second), _ = years
    codes = transition_codes(first, second, n_labels)
    names = transition_names([f"l{k}" for k in range(n_labels)], (2018, 2021))
    assert len(set(names)) == len(names) == n_labels**2 + 2 <= 255
    for one, other, code in zip(first.flat, second.flat, codes.flat, strict=True):
        if code == 255:
            assert one == other == 255
        elif one == 255 or other == 255:
            assert names[code] == ("only_2018" if other == 255 else "only_2021")
        else:
            assert names[code] == (f"persistent_l{one}" if one == other else f"l{one}_to_l{other}")


def test_numbers_by_hand():
    """Two labels, two classes: strata of 100, 20, 10 and 70 km2; of 10 sampled cells each, some are wrong."""
    counts = np.zeros((4, 2, 2), int)
    counts[0, 0, 0], counts[0, 0, 1] = 9, 1  # persistent winter: one was no winter later
    counts[1, 0, 1], counts[1, 0, 0] = 5, 5
    counts[2, 1, 0], counts[2, 1, 1] = 4, 6
    counts[3, 1, 1] = 10
    sample = TransitionSample(counts, np.array([100.0, 20, 10, 70]))
    (ww, ws), (sw, ss) = sample.transitions()
    assert (ww.value, ws.value, sw.value, ss.value) == pytest.approx((100, 20, 4, 76))
    assert ws.standard_error == pytest.approx(np.sqrt((100**2 * 0.09 + 20**2 * 0.25) / 9))
    assert sw.standard_error == pytest.approx(np.sqrt(10**2 * 0.24 / 9))
    winter, summer = sample.net()
    assert (winter.value, summer.value) == pytest.approx((-16, 16))
    assert summer.standard_error == pytest.approx(np.sqrt((100**2 * 0.09 + 20**2 * 0.25 + 10**2 * 0.24) / 9))
    changed = sample.changed([0, 1])
    assert changed.value == pytest.approx(24)
    assert changed.standard_error == pytest.approx(summer.standard_error)
    assert [one.value for one in sample.share_right(2)] == [0.9, 0.5, 0.4, 1.0]


def test_a_transition_with_too_few_sampled_cells_is_left_out_and_its_area_told():
    counts = np.zeros((4, 3, 3), int)
    counts[0, 0, 0], counts[3, 1, 1], counts[1, 0, 1] = 5, 5, 1
    sample = TransitionSample(counts, np.array([10.0, 3, 2, 20]))
    assert sample.left_out == 5
    assert sum(one.value for row in sample.transitions() for one in row) == pytest.approx(30)


def confused(truth, error, rng):
    """Return labels that are wrong with a probability for each true class."""
    return np.where(rng.random(truth.shape) < np.asarray(error)[truth], 1 - truth, truth)


@pytest.mark.parametrize("related", [False, True])
def test_known_errors_are_corrected_and_intervals_hold_the_truth_in_19_of_20_samples(related):
    """Return maps of known error matrices, with errors that are independent or the same in both years."""
    rng = np.random.default_rng(0)
    first = (rng.random(500_000) < 0.4).astype(int)
    second = np.where(rng.random(first.shape) < np.array([0.08, 0.05])[first], 1 - first, first)
    labels = [confused(first, (0.05, 0.12), rng), confused(second, (0.1, 0.06), rng)]
    if related:
        wrong = rng.random(first.shape) < 0.08
        labels = [np.where(wrong, 1 - truth, truth) for truth in (first, second)]
    pairs = 4 * (2 * labels[0] + labels[1]) + 2 * first + second
    cells = np.bincount(pairs, minlength=16).reshape(4, 4)  # by mapped and by true transition
    _, to_summer, to_winter, _ = cells.sum(axis=0)
    if not related:
        assert cells.sum(axis=1)[1:3].sum() > 2 * (to_summer + to_winter)  # the maps alone overstate change
    expected = np.array([to_summer, to_winter, to_summer - to_winter])
    n_samples, held, values = 1000, np.zeros(3), []
    for _ in range(n_samples):
        counts = np.stack([rng.multivariate_hypergeometric(row, 500) for row in cells])
        sample = TransitionSample(counts.reshape(4, 2, 2), cells.sum(axis=1).astype(float))
        found = sample.transitions()
        estimates = [found[0][1].as_json(), found[1][0].as_json(), sample.net()[1].as_json()]
        values.append([one["value"] for one in estimates])
        held += [one["low"] <= area <= one["high"] for one, area in zip(estimates, expected, strict=True)]
    spread = np.std(values, axis=0) / np.sqrt(n_samples)
    assert (np.abs(np.mean(values, axis=0) - expected) < 4 * spread).all()
    assert ((held / n_samples > 0.92) & (held / n_samples < 0.98)).all(), held / n_samples


@settings(max_examples=30)
@given(arrays(np.int64, (4, 3, 3), elements=st.integers(0, 5)), arrays(np.float64, 4, elements=st.floats(0, 1e6)))
def test_estimated_transitions_add_up_to_the_mapped_area(counts, areas):
    sample = TransitionSample(counts, areas)
    total = sum(one.value for row in sample.transitions() for one in row)
    assert total + sample.left_out == pytest.approx(areas.sum())
    assert sum(one.value for one in sample.net()) == pytest.approx(0, abs=1e-6 * (1 + areas.sum()))
