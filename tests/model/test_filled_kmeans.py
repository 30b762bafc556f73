import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.filled_kmeans import FilledKMeans


def two_groups(n=60, seed=0) -> np.ndarray:
    """Series of two channels of very different size, in two groups, a third of the cells missing."""
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    date = np.arange(12)[None, :]
    curve = np.cos(2 * np.pi * (date - 6 * group[:, None]) / 12)
    series = np.stack([curve, 1000 * curve], axis=-1) + rng.normal(0, [0.1, 100], (n, 12, 2))
    return np.where(rng.random((n, 12, 1)) < 0.33, np.nan, series).astype(np.float32)


def test_fewer_distinct_series_than_clusters_are_no_warning():
    labels = FilledKMeans(3, random_state=0).fit(np.ones((5, 4, 1), np.float32)).labels_
    assert labels.tolist() == [0] * 5


@pytest.mark.parametrize("filling", ["mean", "linear"])
def test_two_groups_are_found_from_filled_series(filling):
    labels = FilledKMeans(2, filling=filling, random_state=0).fit(two_groups()).labels_
    assert len(set(labels[::2].tolist())) == len(set(labels[1::2].tolist())) == 1
    assert labels[0] != labels[1]


def test_the_nearest_centre_is_found_in_scaled_and_filled_series():
    series = two_groups()
    kmeans = FilledKMeans(3, random_state=1).fit(series)
    values = series.astype(np.float64)
    gap = np.isnan(values)
    filled = np.where(gap, np.nanmean(values, axis=1, keepdims=True), values)
    low, high = np.nanmin(values, axis=(0, 1)), np.nanmax(values, axis=(0, 1))
    scaled = ((filled - low) / (high - low)).reshape(len(series), -1)
    distance = ((scaled[:, None] - kmeans.centres_.astype(np.float64)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(kmeans.labels_, distance.argmin(axis=1))
    np.testing.assert_allclose(kmeans.impute(series), filled, rtol=1e-5)


@settings(deadline=None)
@given(st.integers(1, 59))
def test_labels_do_not_depend_on_how_series_are_cut(cut):
    series = two_groups()
    kmeans = FilledKMeans(2, random_state=0).fit(series)
    parts = np.concatenate([kmeans.predict(series[:cut]), kmeans.predict(series[cut:])])
    np.testing.assert_array_equal(parts, kmeans.labels_)


def test_the_same_seed_gives_the_same_centres_and_too_few_series_are_refused():
    one, two = (FilledKMeans(2, random_state=3).fit(two_groups()).centres_ for _ in range(2))
    np.testing.assert_array_equal(one, two)
    with pytest.raises(ValueError, match="fewer than n_clusters=5"):
        FilledKMeans(5).fit(two_groups(4))
