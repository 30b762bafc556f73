import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.fillings import FILLERS, RIDGE, fill_harmonically, fill_linearly, harmonic_design
from pipeline.comparison.imputation import Hidden, errors, hide, mean_gap, measure


def series_with_gaps(n=40, n_dates=46, n_channels=1, share=0.3, seed=0) -> np.ndarray:
    """Return seasonal curves with gaps of some dates; every series has two observations at least."""
    rng = np.random.default_rng(seed)
    date = np.arange(n_dates)[None, :, None]
    peak = rng.uniform(0, n_dates, (n, 1, n_channels))
    series = 50 + 30 * np.cos(2 * np.pi * (date - peak) / n_dates) + rng.normal(0, 2, (n, n_dates, n_channels))
    gap = np.repeat(rng.random((n, -(-n_dates // 3), n_channels)) < share, 3, axis=1)[:, :n_dates]
    gap[:, :2] = False
    return np.where(gap, np.nan, series).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12), st.integers(2, 30), st.integers(1, 3), st.floats(0, 0.8), st.floats(0, 0.95), st.booleans(),
    st.integers(0, 1000),
)  # fmt: skip
def test_hiding_takes_observed_cells_only_whole_dates_and_never_all_of_a_series(
    n, n_dates, n_channels, gaps, share, runs, seed
):
    rng = np.random.default_rng(seed)
    series = np.where(rng.random((n, n_dates, n_channels)) < gaps, np.nan, 1.0).astype(np.float32)
    observed = ~np.isnan(series)
    hidden = hide(series, share, runs, rng)
    assert hidden.shape == series.shape
    assert not (hidden & ~observed).any()
    date_hidden = hidden.any(axis=2)
    np.testing.assert_array_equal(hidden, observed & date_hidden[:, :, None])
    left = (observed & ~hidden).any(axis=(1, 2))
    np.testing.assert_array_equal(left, observed.any(axis=(1, 2)))
    if not runs:
        assert hidden.sum() <= share * observed.sum() + n_channels


@pytest.mark.parametrize("n_channels", [1, 3])
def test_the_share_is_met_within_a_run_or_a_date(n_channels):
    series = series_with_gaps(300, n_channels=n_channels)
    observed = int((~np.isnan(series)).sum())
    for share in (0.05, 0.1, 0.3):
        single = hide(series, share, False, np.random.default_rng(1)).sum()
        assert 0 <= single - share * observed < n_channels
        in_runs = hide(series, share, True, np.random.default_rng(1)).sum()
        assert 0 <= in_runs - share * observed < series.shape[1] * n_channels


def test_runs_are_as_long_as_the_gaps_of_the_data():
    observed = np.ones((4000, 60), bool)
    observed[:, 20:26] = False  # one gap of six dates a series
    series = np.where(observed, 1.0, np.nan)[:, :, None].astype(np.float32)
    assert mean_gap(observed) == 6
    hidden = hide(series, 0.05, True, np.random.default_rng(0))[:, :, 0]
    inside = hidden[:, :20]  # away from the gap, where a run is seen whole but for the edges
    starts = inside & ~np.pad(inside, ((0, 0), (1, 0)))[:, :-1]
    assert 4 < inside.sum() / starts.sum() < 6.5
    single = hide(series, 0.05, False, np.random.default_rng(0))[:, :, 0]
    assert single.sum() / (single & ~np.pad(single, ((0, 0), (1, 0)))[:, :-1]).sum() < 1.2


def test_mean_gap_of_known_observations():
    assert mean_gap(np.array([[True, False, False, True, False], [True] * 5])) == 1.5
    assert mean_gap(np.ones((2, 3), bool)) == 1


def test_hiding_is_the_same_with_the_same_seed_and_refuses_shares_that_leave_nothing():
    series = series_with_gaps()
    for runs in (True, False):
        one, two = (hide(series, 0.2, runs, np.random.default_rng(7)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="share"):
            hide(series, share, True, np.random.default_rng(0))


def test_half_is_hidden_in_runs_and_half_singly_and_neither_is_given():
    series = series_with_gaps(400)
    hidden = Hidden.of(series, 0.1, np.random.default_rng(0))
    observed = int((~np.isnan(series)).sum())
    assert hidden.runs.sum() == pytest.approx(0.05 * observed, abs=46)
    assert hidden.single.sum() == pytest.approx(0.05 * observed, abs=2)
    assert not (hidden.runs & hidden.single).any()
    gone = hidden.runs | hidden.single
    np.testing.assert_array_equal(np.isnan(hidden.given), np.isnan(series) | gone)
    np.testing.assert_array_equal(hidden.given[~gone], series[~gone])
    assert hidden.given.dtype == np.float32


def test_errors_of_known_differences():
    truth, filled = np.zeros((1, 4, 1)), np.array([3.0, -4.0, 100.0, 0.0]).reshape(1, 4, 1)
    where = np.array([True, True, False, False]).reshape(1, 4, 1)
    assert errors(truth, filled, where) == {"cells": 2, "rmse": pytest.approx(12.5**0.5), "mae": 3.5}
    assert errors(truth, filled, np.zeros_like(where)) == {"cells": 0, "rmse": None, "mae": None}


def test_channels_are_measured_apart_where_there_are_several():
    truth = np.zeros((1, 2, 2), np.float32)
    hidden = Hidden(truth, np.array([[[True, True], [False, False]]]), np.array([[[False, False], [True, False]]]))
    filled = np.array([[[1.0, 10.0], [3.0, 99.0]]], np.float32)
    measured = measure(hidden, filled, ("red", "blue"))
    assert measured["channels"]["red"]["all"] == {"cells": 2, "rmse": pytest.approx(5**0.5), "mae": 2.0}
    assert measured["channels"]["blue"]["single"]["cells"] == 0
    assert measured["runs"] == {"cells": 2, "rmse": pytest.approx(50.5**0.5), "mae": 5.5}
    assert "channels" not in measure(
        Hidden(truth[..., :1], *(m[..., :1] for m in (hidden.runs, hidden.single))), filled[..., :1], ("red",)
    )


# ---- fillings against plain float64 code


def each_series(fill, series, channel_mean):
    """Apply a filling of one observed series to every series and channel."""
    filled = series.astype(np.float64)
    for i in range(series.shape[0]):
        for c in range(series.shape[2]):
            values = series[i, :, c].astype(np.float64)
            gap = np.isnan(values)
            filled[i, gap, c] = channel_mean[c] if gap.all() else fill(values, ~gap)[gap]
    return filled


def oracle_mean(values, known):
    return np.full(len(values), values[known].mean())


def oracle_linear(values, known):
    return np.interp(np.arange(len(values)), np.flatnonzero(known), values[known])


def oracle_harmonic(values, known):
    """Fit a ridge regression as ordinary least squares with one more row a penalised coefficient."""
    t = np.arange(len(values)) / len(values)
    columns = [np.ones_like(t), t - 0.5]
    for k in (1, 2):
        columns += [np.cos(2 * np.pi * k * t), np.sin(2 * np.pi * k * t)]
    design = np.column_stack(columns)
    penalty = np.sqrt(RIDGE * known.sum()) * np.eye(6)[1:]
    middle = values[known].mean()
    right = np.concatenate([values[known] - middle, np.zeros(5)])
    coefficients = np.linalg.lstsq(np.vstack([design[known], penalty]), right, rcond=None)[0]
    return middle + design @ coefficients


@pytest.mark.parametrize(
    ("name", "oracle"), [("mean", oracle_mean), ("linear", oracle_linear), ("harmonic", oracle_harmonic)]
)
@pytest.mark.parametrize(("n_dates", "n_channels"), [(46, 1), (36, 3), (5, 2)])
def test_fillings_are_what_plain_code_makes_of_each_series(name, oracle, n_dates, n_channels):
    series = series_with_gaps(30, n_dates, n_channels, share=0.6, seed=3)
    series[0, 1:] = np.nan  # one observation
    series[1, :, 0] = np.nan  # a channel that this series never observed
    series[2, : n_dates // 2] = np.nan
    series[2, -1] = 7  # a gap at the start
    mean = np.arange(n_channels) + 20.0
    filled = FILLERS[name](series, mean)
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, each_series(oracle, series, mean), rtol=2e-5, atol=2e-4)
    np.testing.assert_array_equal(filled[~np.isnan(series)], series[~np.isnan(series)])


def test_a_line_is_drawn_between_observations_and_held_before_and_after_them():
    series = np.array([np.nan, 2, np.nan, np.nan, 8, np.nan], np.float32).reshape(1, 6, 1)
    assert fill_linearly(series, np.zeros(1)).ravel().tolist() == [2, 2, 4, 6, 8, 8]


def test_a_curve_of_two_harmonics_and_a_trend_is_found_again():
    coefficients = np.array([40.0, 5, 10, -8, 3, 6])
    curve = (harmonic_design(46) @ coefficients).astype(np.float32)
    series = np.where(np.arange(46) % 3 == 1, np.nan, curve).reshape(1, 46, 1).astype(np.float32)
    np.testing.assert_allclose(fill_harmonically(series, np.zeros(1)).ravel(), curve, atol=0.05)


def test_series_without_gaps_come_back_as_they_are_and_no_series_at_all_are_none():
    series = series_with_gaps(share=0)
    for fill in FILLERS.values():
        np.testing.assert_array_equal(fill(series, np.zeros(1)), series)
        assert fill(series[:0], np.zeros(1)).shape == (0, 46, 1)


def test_a_channel_that_would_lose_its_last_observation_is_not_hidden():
    series = np.full((20, 6, 2), np.nan, np.float32)
    series[:, :, 0] = 1
    series[3, 2, 1] = 5
    for seed in range(20):
        hidden = Hidden.of(series, 0.9, np.random.default_rng(seed))
        assert hidden.given[3, 2, 1] == 5
        assert np.isnan(hidden.given[:, :, 0]).sum() > 50
