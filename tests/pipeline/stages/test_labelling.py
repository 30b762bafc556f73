import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model import JointClustering
from pipeline.base.channel import Channel
from pipeline.cube.channels import filled_name, spread_names, to_physical, width_channel
from pipeline.stages.infer.labelling import decoder, encoded, label_series
from tests.support.stored_numbers import to_stored

FPAR = Channel("fpar", "FPAR", "1", 0.01, 0.0, "uint8", 255, (0, 100))
INDEX = Channel("index", "an index", "1", 0.0001, -0.5, "int16", -32768, (-10_000, 10_000))
HEAT = Channel("heat", "a temperature", "K", 0.02, 0.0, "uint16", 0, (7500, 65535))
ODD = Channel("odd", "steps of no whole number", "m", 0.3, 1.7, "int32", -1, (0, 100_000_000))
CODINGS = [FPAR, INDEX, HEAT, ODD]
N_DATES = 12


def random_numbers(channels, n_cells, seed=0):
    rng = np.random.default_rng(seed)
    numbers = {}
    for channel in channels:
        low, high = channel.valid_range
        season = np.cos(np.linspace(0, 6, N_DATES))[:, None] * rng.choice([-0.4, 0.4], n_cells)
        values = low + (high - low) * (0.5 + season + rng.normal(0, 0.04, (N_DATES, n_cells)))
        stored = values.clip(low, high).astype(channel.dtype)
        stored[rng.random(stored.shape) < 0.3] = channel.missing
        numbers[channel.name] = stored
    return numbers


def series_of(numbers, channels):
    return np.stack([to_physical(numbers[channel.name].T, channel) for channel in channels], axis=-1)


def names_of(channels):
    return ["label", "confidence", *map(filled_name, channels), *spread_names(channels)]


@pytest.fixture(scope="module", params=[(FPAR,), (INDEX, FPAR, HEAT)], ids=["one channel", "three channels"])
def trained(request):
    torch.set_num_threads(1)
    numbers = random_numbers(request.param, 300)
    estimator = JointClustering(n_iter=30, warm_up=20, preset="robust", w_gen=0, batch_size=100, random_state=0)
    return estimator.fit(series_of(numbers, request.param)), request.param


def test_stored_results_are_those_of_the_estimator_rounded(trained):
    estimator, channels = trained
    numbers = random_numbers(channels, 500, seed=1)
    found = label_series(estimator, numbers, channels, 128, names_of(channels))
    expected = estimator.infer(series_of(numbers, channels))
    np.testing.assert_array_equal(found["label"], expected.labels)
    np.testing.assert_array_equal(found["confidence"], np.rint(100 * expected.proba.max(1)))
    for c, (channel, spread) in enumerate(zip(channels, spread_names(channels), strict=True)):
        given = numbers[channel.name]
        seen = given != channel.missing
        filled = np.where(seen, given, to_stored(expected.filled[..., c].T, channel))
        width = np.where(seen, 0, to_stored(expected.spread[..., c].T, width_channel(channel)))
        np.testing.assert_array_equal(found[filled_name(channel)], filled)
        np.testing.assert_array_equal(found[spread], width)
        assert width[~seen].any()
        assert {found[filled_name(channel)].dtype, found[spread].dtype} == {np.dtype(channel.dtype)}
    assert set(np.unique(found["label"])) == {0, 1}


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 100, 1000])
def test_results_do_not_depend_on_the_batch(trained, batch):
    estimator, channels = trained
    numbers = random_numbers(channels, 131, seed=2)
    whole = label_series(estimator, numbers, channels, 131, names_of(channels))
    parts = label_series(estimator, numbers, channels, batch, names_of(channels))
    assert list(whole) == list(parts)
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values)


def test_only_what_is_wanted_is_given_and_it_is_the_same(trained):
    estimator, channels = trained
    numbers = random_numbers(channels, 70, seed=3)
    everything = label_series(estimator, numbers, channels, 64, names_of(channels))
    for name in names_of(channels):
        found = label_series(estimator, numbers, channels, 64, [name])
        assert list(found) == [name]
        np.testing.assert_array_equal(found[name], everything[name])
    assert label_series(estimator, numbers, channels, 64, []) == {}
    with pytest.raises(ValueError, match="no output lable"):
        label_series(estimator, numbers, channels, 64, ["lable"])


def test_a_cell_without_any_observation_is_missing_everywhere_and_changes_no_other(trained):
    estimator, channels = trained
    numbers = random_numbers(channels, 70, seed=4)
    before = label_series(estimator, numbers, channels, 64, names_of(channels))
    for channel in channels:
        numbers[channel.name][:, [5, 66]] = channel.missing
    found = label_series(estimator, numbers, channels, 64, names_of(channels))
    missing = {"label": 255, "confidence": 255}
    for channel, name in zip(channels, spread_names(channels), strict=True):
        missing |= {filled_name(channel): channel.missing, name: channel.missing}
    for name, values in found.items():
        assert (values[..., [5, 66]] == missing[name]).all()
        np.testing.assert_array_equal(np.delete(values, [5, 66], -1), np.delete(before[name], [5, 66], -1))


def test_no_cells_give_empty_outputs(trained):
    estimator, channels = trained
    found = label_series(estimator, random_numbers(channels, 0), channels, 64, names_of(channels))
    assert found["label"].shape == (0,)
    assert found[filled_name(channels[0])].shape == (N_DATES, 0)


@pytest.mark.parametrize("channel", CODINGS, ids=lambda channel: channel.name)
def test_numbers_are_decoded_as_by_the_channel(channel):
    low, high = channel.valid_range
    every = np.arange(low, high + 1, max(1, (high - low) // 50_000))
    stored = np.append(every, channel.missing).astype(channel.dtype)
    found = decoder(channel, torch.device("cpu"))(torch.from_numpy(stored)).numpy()
    np.testing.assert_array_equal(found.view(np.int32)[:-1], to_physical(stored, channel).view(np.int32)[:-1])
    assert np.isnan(found[-1])


@given(arrays.arrays(np.float32, 40, elements=st.floats(-3, 3, width=32) | st.floats(-1e9, 1e9, width=32)))
@settings(max_examples=50, deadline=None)
def test_values_are_encoded_as_by_the_channel(values):
    for channel in CODINGS:
        found = encoded(torch.from_numpy(values), channel).numpy()
        np.testing.assert_array_equal(found, to_stored(values, channel))
        assert found.dtype == channel.dtype


def test_halves_are_rounded_to_even():
    values = torch.tensor([0.125, 0.375, 0.625, 0.875])  # exact in binary: 12.5, 37.5, 62.5, 87.5 hundredths
    assert encoded(values, FPAR).tolist() == [12, 38, 62, 88]
