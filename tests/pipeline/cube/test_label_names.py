from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cube.label_names import days_apart, in_words, label_names, names_of, unnamed

LENGTHS = {"eight-day": 46, "ten-day": 36, "monthly": 12}


def test_two_clusters_of_cropland_are_winter_and_summer():
    assert label_names([14, 27], "eight-day", crops=True) == ("winter", "summer")


def test_two_clusters_of_all_land_are_called_after_their_peaks():
    # composites 14 and 27 begin on days 113 and 217
    assert label_names([14, 27], "eight-day", crops=False) == ("peak_23_Apr", "peak_5_Aug")


@pytest.mark.parametrize(
    ("calendar", "peaks", "names"),
    [
        ("eight-day", [0, 17, 45], ("peak_1_Jan", "peak_17_May", "peak_27_Dec")),
        ("ten-day", [12, 13, 14], ("peak_1_May", "peak_11_May", "peak_21_May")),
        ("monthly", [1, 2, 11], ("peak_1_Feb", "peak_1_Mar", "peak_1_Dec")),
    ],
)
def test_names_tell_the_first_day_of_the_composite(calendar, peaks, names):
    assert label_names(peaks, calendar, crops=True) == names


def test_labels_that_peak_in_one_composite_have_names_of_their_own():
    assert label_names([3, 3, 3, 20], "ten-day", crops=True) == (
        "peak_1_Feb", "peak_1_Feb_2", "peak_1_Feb_3", "peak_21_Jul",
    )  # fmt: skip


@given(st.data())
def test_names_are_distinct_words_whatever_the_peaks(data):
    calendar = data.draw(st.sampled_from(sorted(LENGTHS)))
    peaks = data.draw(st.lists(st.integers(0, LENGTHS[calendar] - 1), min_size=1, max_size=6))
    names = label_names(sorted(peaks), calendar, crops=data.draw(st.booleans()))
    assert len(set(names)) == len(peaks)
    assert " ".join(names).split() == list(names)


def test_a_name_in_words_is_read_by_people():
    assert in_words("peak_17_May_2") == "peak 17 May 2"


def test_names_of_a_model_follow_from_what_it_keeps():
    model = SimpleNamespace(cluster_peaks_=np.array([5, 8]), about_={"calendar": "monthly"})
    assert names_of(model, crops=False) == ("peak_1_Jun", "peak_1_Sep")


def test_distance_of_peaks_is_in_days():
    assert days_apart([14, 27], "eight-day") == 13 * 8
    assert days_apart([1, 3], "monthly") == 28 + 31


def test_labels_of_an_untrained_model_are_numbered():
    assert unnamed(3) == ("label_0", "label_1", "label_2")
