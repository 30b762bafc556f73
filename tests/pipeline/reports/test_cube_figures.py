import numpy as np
import pytest

from pipeline.reports import figures
from pipeline.reports.figures.cube import Example, FilledSeries, _limits

DATES = np.datetime64("2018-01-01") + 8 * np.arange(4)


def series(filled, observed=(np.nan,) * 4, valid=(0, 1), channel="fpar"):
    return FilledSeries(channel, valid, np.array(observed), np.array(filled, float), np.zeros(4))


def test_shares_are_shown_on_all_of_their_scale():
    assert _limits([series([0.2, 0.3, 0.4, 0.3])]) == (0, 1)


@pytest.mark.parametrize("values", [(-0.4, -0.3, 0.7, 0.1), (-0.9, -0.8, -0.7, -0.5), (20.0, 22.0, 30.0, 21.0)])
def test_no_value_of_a_wider_scale_lies_on_the_edge_whatever_its_sign(values):
    low, high = _limits([series(values, valid=(-1, 1)), series([values[0]] * 4, valid=(-1, 1))])
    assert low < min(values)
    assert high > max(values)
    assert high - low < 1.2 * (max(values) - min(values))


def test_values_that_are_all_the_same_leave_a_scale():
    low, high = _limits([series([5.0] * 4, valid=(0, 10))])
    assert low < 5 < high


def test_gaps_series_and_profiles_of_one_or_more_channels_are_pictures():
    curves = np.random.default_rng(0).random((3, 4, 3))
    curves[1, :, 0] = np.nan  # a cluster that was never observed in that channel
    drawn = [
        figures.gaps(DATES, np.array([0, 0.5, 1, 0.2])),
        figures.gaps(DATES[:1], np.array([0.5])),
        figures.filled_series(DATES, [Example("a cell", "black", series([0, 1, 0, 1]))], n_channels=1),
        figures.profiles(DATES, curves, ["a", "b", "c"], ["ndvi", "ndwi", "fpar"]),
        figures.profiles(DATES, curves[:1, :, 1:2], ["a"], ["ndvi"]),
    ]
    assert all(png.startswith(b"\x89PNG") for png in drawn)
