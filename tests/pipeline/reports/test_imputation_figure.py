from datetime import date

import numpy as np
import pytest

from pipeline.reports import figures
from tests.support.snapshot_examples import make_snapshots

NAN = np.nan
DATES = np.datetime64("2018-01-01") + 8 * np.arange(5)


def series(n=12, n_dates=5, missing=()):
    """Return values 0.1 * series + date / 100, without the `missing` pairs of series and date."""
    X = 0.1 * np.arange(n)[:, None] + np.arange(n_dates) / 100
    for i, t in missing:
        X[i, t] = NAN
    return X


def panels(figure):
    return [axes for axes in figure.axes if axes.lines]


def lines_of(axes):
    """Return x and y of the curve, of the generated and of the observed points."""
    return [tuple(np.asarray(part) for part in line.get_data()) for line in axes.lines]


def test_a_panel_shows_what_was_observed_what_was_generated_in_gaps_and_the_whole_curve():
    snapshots = make_snapshots(n_iterations=2)
    X = series(missing=[(2, 1), (2, 4)])
    classes = np.full(12, -1)
    classes[2] = 0
    figure = figures.draw_imputation(snapshots, X, classes, ["winter"], quantity="FPAR")
    for s, axes in enumerate(panels(figure)):
        curve, generated, observed = lines_of(axes)
        expected = 100 * s + 20 + np.arange(5)
        np.testing.assert_array_equal(curve[0], [1, 2, 3, 4, 5])
        np.testing.assert_allclose(curve[1], expected)
        np.testing.assert_array_equal(generated[0], [2, 5])
        np.testing.assert_allclose(generated[1], expected[[1, 4]])
        np.testing.assert_array_equal(observed[0], [1, 3, 4])
        np.testing.assert_allclose(observed[1], [0.2, 0.22, 0.23], rtol=1e-6)
    assert [axes.get_title() for axes in panels(figure)] == ["iteration 0", "iteration 140"]
    assert figure.axes[0].get_ylabel() == "winter, 2 of 5 missing\nFPAR"


def test_the_series_with_the_median_number_of_gaps_stands_for_its_class():
    gaps = {0: 0, 2: 1, 4: 4, 6: 2, 8: 3}  # of the curves 0, 2, ..., 8
    X = series(missing=[(i, t) for i, n in gaps.items() for t in range(n)])
    figure = figures.draw_imputation(make_snapshots(n_curves=5), X, np.zeros(12, int), ["one"])
    np.testing.assert_allclose(lines_of(figure.axes[0])[0][1], 60 + np.arange(5))
    assert figure.axes[0].get_ylabel().startswith("one, 2 of 5 missing")


def test_only_series_whose_label_is_their_class_are_shown():
    classes, labels = np.zeros(12, int), np.ones(12, int)
    labels[4] = 0
    figure = figures.draw_imputation(make_snapshots(), series(), classes, ["one"], labels=labels)
    np.testing.assert_allclose(lines_of(figure.axes[0])[0][1], 40 + np.arange(5))


def test_each_class_has_a_row_and_one_that_no_watched_curve_is_of_has_none():
    classes = np.full(12, 255)
    classes[[0, 6]] = [2, 0]
    figure = figures.draw_imputation(make_snapshots(n_iterations=3), series(), classes, ["a", "b", "c"])
    assert len(panels(figure)) == 6
    rows = [axes.get_ylabel().split(",")[0] for axes in figure.axes if axes.get_ylabel()]
    assert rows == ["a", "c"]
    np.testing.assert_allclose(lines_of(figure.axes[0])[0][1], 60 + np.arange(5))
    np.testing.assert_allclose(lines_of(figure.axes[3])[0][1], np.arange(5))
    colours = [axes.lines[0].get_color() for axes in (figure.axes[0], figure.axes[3])]
    assert colours == [figures.colours(3)[0], figures.colours(3)[2]]


def test_of_many_snapshots_some_are_shown_with_the_first_and_the_last():
    figure = figures.draw_imputation(make_snapshots(n_iterations=6), series(), np.zeros(12, int), ["one"], columns=3)
    titles = [axes.get_title() for axes in panels(figure)]
    assert len(titles) == 3
    assert titles[0] == "iteration 0"
    assert titles[-1] == "iteration 700"


def test_dates_are_shown_as_dates():
    figure = figures.draw_imputation(make_snapshots(), series(), np.zeros(12, int), ["one"], dates=DATES)
    assert lines_of(figure.axes[0])[0][0][1] == date(2018, 1, 9)


def test_one_channel_of_several_is_shown():
    X = np.stack([series(), series() + 50], axis=-1)
    X[:, 2, 1] = NAN
    snapshots = make_snapshots(n_channels=2)
    curve, generated, _ = lines_of(figures.draw_imputation(snapshots, X, np.zeros(12, int), ["one"], channel=1).axes[0])
    np.testing.assert_allclose(curve[1], np.arange(5) + 0.1)
    np.testing.assert_array_equal(generated[0], [3])
    _, generated, _ = lines_of(figures.draw_imputation(snapshots, X, np.zeros(12, int), ["one"]).axes[0])
    assert len(generated[0]) == 0


@pytest.mark.parametrize(
    ("X", "classes", "message"),
    [
        (series(n_dates=6), np.zeros(12, int), r"X has shape \(12, 6\), and curves of 5 x 1"),
        (series(n=6), np.zeros(12, int), "up to number 6 were watched"),
        (series(), np.full(12, 3), "none of the 4 watched curves has a class from 0 to 0"),
    ],
)
def test_data_that_do_not_belong_to_the_snapshots_are_refused(X, classes, message):
    with pytest.raises(ValueError, match=message):
        figures.imputation(make_snapshots(), X, classes, ["one"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"channel": 1}, "channel is 1; the series have 1"),
        ({"dates": DATES[:4]}, "dates has 4 entries; the series have 5"),
        ({"colours": ["red"]}, "colours has 1 entries for 2 classes"),
        ({"names": []}, "names is empty"),
    ],
)
def test_what_does_not_fit_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        figures.imputation(make_snapshots(), series(), np.zeros(12, int), **({"names": ["a", "b"]} | given))


def test_it_is_a_picture():
    assert figures.imputation(make_snapshots(), series(), np.arange(12) % 2, ["a", "b"]).startswith(b"\x89PNG")
