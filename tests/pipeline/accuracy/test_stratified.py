import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.accuracy.stratified import StratifiedSample, sample_size

# The worked example of Olofsson et al. (2014): Table 8 and sections 5.1.1, 5.2.1 and 5.2.2. Strata are deforestation,
# forest gain, stable forest and stable non-forest, in pixels of 30 m.
COUNTS = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
HECTARES = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09
PAPER = StratifiedSample(COUNTS, HECTARES)


def printed(estimates, digits):
    return [(round(e.value, digits), round(e.half_width, digits)) for e in estimates]


def test_areas_are_those_of_the_paper():
    assert printed(PAPER.area(), 0) == [(21158, 6158), (11686, 3756), (285770, 15510), (581386, 16282)]


def test_estimated_proportions_are_those_of_table_9():
    expected = [
        [0.0176, 0, 0.0013, 0.0011],
        [0, 0.0110, 0.0016, 0.0024],
        [0.0019, 0, 0.2967, 0.0213],
        [0.0040, 0.0020, 0.0179, 0.6212],
    ]
    np.testing.assert_array_equal(PAPER.proportions().round(4), expected)


def test_users_and_overall_accuracy_are_those_of_the_paper():
    assert printed(PAPER.users_accuracy(), 2) == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert printed([PAPER.overall_accuracy()], 2) == [(0.95, 0.02)]


def test_producers_accuracy_is_that_of_the_paper():
    # the paper prints ± 0.23 and ± 0.01 for the second and the last; its own eq. 7 gives 0.2544 and 0.0184, as the R
    # package mapaccuracy does
    assert printed(PAPER.producers_accuracy(), 2) == [(0.75, 0.21), (0.85, 0.25), (0.93, 0.03), (0.96, 0.02)]
    assert PAPER.producers_accuracy()[1].half_width == pytest.approx(0.2544, abs=5e-5)
    assert PAPER.producers_accuracy()[3].half_width == pytest.approx(0.0184, abs=5e-5)


def test_the_sample_size_is_that_of_the_paper():
    assert sample_size(np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95]), 0.01) == 641


def test_producers_accuracy_follows_equation_7_term_by_term():
    areas = HECTARES
    n = COUNTS.sum(axis=1)
    users = np.diag(COUNTS) / n
    for j, estimate in enumerate(PAPER.producers_accuracy()):
        share = COUNTS[:, j] / n
        whole = (areas * share).sum()
        producers = areas[j] * users[j] / whole
        own = areas[j] ** 2 * (1 - producers) ** 2 * users[j] * (1 - users[j]) / (n[j] - 1)
        others = sum(areas[i] ** 2 * share[i] * (1 - share[i]) / (n[i] - 1) for i in range(4) if i != j)
        assert estimate.value == pytest.approx(producers)
        assert estimate.standard_error == pytest.approx(np.sqrt(own + producers**2 * others) / whole)


def test_classes_without_a_stratum_have_an_area_and_no_accuracy():
    sample = StratifiedSample(np.array([[40, 5, 5], [2, 46, 2]]), np.array([100.0, 300.0]))
    assert [e.value for e in sample.area()] == pytest.approx([80 + 12, 10 + 276, 10 + 12])
    assert [e.value for e in sample.producers_accuracy()] == pytest.approx([80 / 92, 276 / 286, None])
    assert sample.overall_accuracy().value == pytest.approx((80 + 276) / 400)
    assert sample.accuracy_among((0, 1)).value == pytest.approx((80 + 276) / (92 + 286))


def test_strata_without_a_class_count_as_wrong():
    sample = StratifiedSample(np.array([[9, 1], [0, 10], [5, 5]]), np.array([10.0, 10.0, 20.0]))
    assert [e.value for e in sample.users_accuracy()] == [0.9, 1.0, None]
    assert sample.overall_accuracy().value == pytest.approx(19 / 40)
    assert sample.area()[0].value == pytest.approx(9 + 10)


def test_an_area_without_a_sample_leaves_nothing_known_but_the_other_strata():
    sample = StratifiedSample(np.array([[8, 2], [0, 0]]), np.array([10.0, 20.0]))
    unknown = {"value": None, "standard_error": None, "low": None, "high": None}
    assert [e.as_json() for e in sample.area()] == [unknown, unknown]
    assert sample.overall_accuracy().as_json() == unknown
    assert sample.proportions() is None
    assert [e.value for e in sample.users_accuracy()] == [0.8, None]


def test_a_single_sample_gives_a_value_and_no_standard_error():
    sample = StratifiedSample(np.array([[8, 2], [0, 1]]), np.array([10.0, 20.0]))
    assert sample.area()[1].as_json() == {"value": 22.0, "standard_error": None, "low": None, "high": None}
    assert sample.users_accuracy()[1].standard_error is None
    assert sample.overall_accuracy().half_width is None


def test_a_stratum_without_area_has_no_part_in_it():
    with_empty = StratifiedSample(np.array([[8, 2], [0, 0]]), np.array([10.0, 0.0]))
    assert [e.value for e in with_empty.area()] == pytest.approx([8, 2])
    assert with_empty.overall_accuracy().value == 0.8
    assert with_empty.producers_accuracy()[0].value == 1
    assert all(e.value is None or e.value == 0 for e in StratifiedSample(np.zeros((2, 3)), np.zeros(2)).area())


def test_intervals_end_at_what_is_possible():
    few = StratifiedSample(np.array([[9, 1], [1, 9]]), np.array([1.0, 1.0])).users_accuracy()[0]
    assert few.interval[1] == 1
    assert few.interval[0] == pytest.approx(0.9 - 1.96 * 0.1)


@given(st.lists(st.lists(st.integers(2, 50), min_size=3, max_size=3), min_size=2, max_size=4))
def test_areas_of_all_classes_make_the_mapped_area(counts):
    areas = np.arange(1.0, len(counts) + 1)
    sample = StratifiedSample(np.array(counts), areas)
    assert sum(e.value for e in sample.area()) == pytest.approx(areas.sum())
    assert sample.proportions().sum() == pytest.approx(1)
    assert all(e.interval[0] <= e.value <= e.interval[1] for e in sample.area())


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    truth = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3]])
    areas = np.array([300.0, 700.0])
    areas_of_classes, accuracy = areas @ truth, (300 * 0.8 + 700 * 0.6) / (300 * 0.95 + 700 * 0.7)
    held = np.zeros(2)
    for _ in range(1000):
        sample = StratifiedSample(np.array([rng.multinomial(100, row) for row in truth]), areas)
        for k, (estimate, value) in enumerate(
            ((sample.area()[1], areas_of_classes[1]), (sample.accuracy_among((0, 1)), accuracy))
        ):
            held[k] += estimate.interval[0] <= value <= estimate.interval[1]
    assert (np.abs(held / 1000 - 0.95) < 0.02).all()


@pytest.mark.parametrize(
    ("counts", "areas"),
    [([1, 2], [1.0, 1.0]), ([[1, 2]], [1.0, 1.0]), ([[-1, 2]], [1.0]), ([[1, 2]], [-1.0]), ([[1, 2]], [np.nan])],
)
def test_what_does_not_fit_is_refused(counts, areas):
    with pytest.raises(ValueError, match="counts"):
        StratifiedSample(np.array(counts), np.array(areas))
