import numpy as np
import pytest
import torch

from model.estimators.profiles import cluster_profiles, seasonal_order
from model.series import ChannelScaler, as_series, mean_filled, observed_and_zeroed

NAN = np.nan


def test_input_becomes_float32_with_a_channel_axis():
    assert as_series([[1, 2, 3]]).shape == (1, 3, 1)
    assert as_series(np.zeros((2, 3, 4), np.uint8)).shape == (2, 3, 4)
    assert as_series(np.zeros((2, 3))).dtype == np.float32
    given = np.zeros((2, 3, 1), np.float32)
    assert as_series(given) is given


def test_scaler_maps_the_observed_range_of_each_channel_to_the_unit_range():
    series = np.array([[[10, -1], [20, NAN]], [[NAN, 3], [15, 1]]], np.float32)
    scaler = ChannelScaler.fit(series)
    assert (scaler.minimum, scaler.maximum) == ((10.0, -1.0), (20.0, 3.0))
    scaled = scaler.transform(series)
    np.testing.assert_array_equal(scaled, np.array([[[0, 0], [1, NAN]], [[NAN, 1], [0.5, 0.5]]], np.float32))
    np.testing.assert_array_equal(scaler.inverse(scaled), series)


def test_scaler_of_a_constant_channel_keeps_its_value():
    series = np.full((2, 3, 1), 7, np.float32)
    scaler = ChannelScaler.fit(series)
    assert not scaler.transform(series).any()
    np.testing.assert_array_equal(scaler.inverse(scaler.transform(series)), series)


def test_missing_cells_are_zero_and_masked():
    x, m = observed_and_zeroed(np.array([[[0.5], [NAN]]], np.float32), torch.device("cpu"))
    assert x.flatten().tolist() == [0.5, 0.0]
    assert m.flatten().tolist() == [True, False]


def test_gaps_take_the_mean_of_their_own_series_and_channel():
    scaled = np.array([[[1, 4], [NAN, 8], [3, NAN]], [[NAN, 6], [NAN, NAN], [NAN, NAN]]], np.float32)
    filled = mean_filled(*observed_and_zeroed(scaled, torch.device("cpu")))
    # the second series never saw channel 0: the mean of that channel over all observations, 2
    assert filled.tolist() == [[[1, 4], [2, 8], [3, 6]], [[2, 6], [2, 6], [2, 6]]]


def test_profiles_are_means_of_observed_values():
    series = np.array([[1, NAN, 5], [3, 4, NAN], [10, 10, 10]], np.float32)[:, :, None]
    decoded = np.full((3, 3, 1), 99, np.float32)
    profiles = cluster_profiles(series, np.array([0, 0, 1]), decoded)
    assert profiles[:, :, 0].tolist() == [[2, 4, 5], [10, 10, 10], [99, 99, 99]]


def test_dates_with_few_observations_are_interpolated_in_a_profile():
    series = np.tile(np.array([0.0, NAN, NAN, 6.0], np.float32), (100, 1))[:, :, None]
    series[0, 1] = 500.0  # one odd series of a hundred must not become the peak
    profile = cluster_profiles(series, np.zeros(100, int), np.zeros((1, 4, 1), np.float32))
    np.testing.assert_allclose(profile[0, :, 0], [0, 2, 4, 6])


@pytest.mark.parametrize(
    ("curves", "order"),
    [
        ([[0, 0, 1], [1, 0, 0], [0, 1, 0]], [1, 2, 0]),
        ([[0, 3, 1], [1, 3, 0]], [1, 0]),  # one peak: the earlier centre of mass first
        ([[1, 3, 0], [0, 3, 1]], [0, 1]),
    ],
)
def test_order_of_clusters_follows_their_peaks(curves, order):
    assert seasonal_order(np.array(curves, np.float32)).tolist() == order
