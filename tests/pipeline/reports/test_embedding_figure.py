import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.reports import figures
from pipeline.reports.figures.latent import principal_plane
from tests.support.snapshot_examples import make_snapshots


def shown_points(figure):
    """Return the offsets of the points of every panel with points."""
    return [np.asarray(axes.collections[0].get_offsets()) for axes in figure.axes if axes.collections]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(3, 30))
def test_the_plane_is_that_of_the_singular_vectors_and_its_share_that_of_the_variance(seed, size, n):
    points = np.random.default_rng(seed).normal(size=(2, n, size)) * np.arange(1, size + 1)
    plane = principal_plane(points)
    flat = points.reshape(-1, size) - points.reshape(-1, size).mean(0)
    _, singular, axes = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(plane.share, (singular**2 / (singular**2).sum())[:2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.abs(plane.points.reshape(-1, 2)), np.abs(flat @ axes[:2].T), rtol=0, atol=1e-6)


def test_the_plane_does_not_depend_on_the_order_of_the_points():
    points = np.random.default_rng(0).normal(size=(40, 5))
    np.testing.assert_allclose(principal_plane(points[::-1]).points[::-1], principal_plane(points).points, atol=1e-9)


def test_an_embedding_of_one_number_lies_on_a_line():
    points = np.array([[0.0], [1.0], [5.0]])
    plane = principal_plane(points)
    np.testing.assert_allclose(np.abs(np.diff(plane.points[:, 0])), [1, 4])
    assert (plane.points[:, 1] == 0).all()
    assert plane.share.tolist() == [1, 0]


def test_points_that_all_coincide_are_drawn():
    snapshots = make_snapshots() | {"embedding": np.ones((3, 6, 3), np.float32)}
    assert figures.embedding(snapshots, np.zeros(12, int), ["one"]).startswith(b"\x89PNG")


def test_every_snapshot_has_a_panel_on_the_same_scale_named_by_its_iteration():
    snapshots = make_snapshots(n_iterations=5)
    figure = figures.draw_embedding(snapshots, np.zeros(12, int), ["one"])
    panels = [axes for axes in figure.axes if axes.collections]
    assert [axes.get_title() for axes in panels] == [f"iteration {i}" for i in (0, 140, 280, 420, 560)]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels}) == 1
    plane = principal_plane(snapshots["embedding"])
    for points, expected in zip(shown_points(figure), plane.points, strict=True):
        np.testing.assert_allclose(points, expected)
    assert f"{100 * plane.share[0]:.1f} % of variance" in figure.axes[3].get_xlabel()


def test_points_have_the_colour_of_their_class_and_others_are_left_out():
    snapshots = make_snapshots(n_watched=6)
    classes = np.full(12, 255)
    classes[[0, 4, 6]] = [1, 0, 1]  # of the series with snapshots 0, 2, ..., 10
    classes[[1, 3]] = 0  # without snapshots
    figure = figures.draw_embedding(snapshots, classes, ["winter", "summer"], colours=["#ff0000", "#0000ff"])
    points = figure.axes[0].collections[0]
    np.testing.assert_allclose(
        np.asarray(points.get_offsets()), principal_plane(snapshots["embedding"][:, [0, 2, 3]]).points[0]
    )
    assert [tuple(colour[:3]) for colour in points.get_facecolors()] == [(0, 0, 1), (1, 0, 0), (0, 0, 1)]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["winter (1 series)", "summer (2 series)"]


def test_no_more_than_so_many_of_a_class_are_shown_and_they_are_the_first_watched():
    snapshots = make_snapshots(n_watched=6)
    classes = np.zeros(12, int)
    classes[[8, 10]] = 1
    figure = figures.draw_embedding(snapshots, classes, ["a", "b"], per_class=2)
    expected = principal_plane(snapshots["embedding"][:, [0, 1, 4, 5]]).points[2]
    np.testing.assert_allclose(shown_points(figure)[2], expected)


def test_a_point_far_off_does_not_squeeze_the_others_and_is_counted():
    snapshots = make_snapshots(n_watched=500, seed=1)
    snapshots["embedding"][1, 7] = 1e6
    figure = figures.draw_embedding(snapshots, np.zeros(1000, int), ["one"])
    left, right = figure.axes[0].get_xlim()
    assert right - left < 50
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], ["1 outside"], []]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (np.zeros(10, int), "has 10 entries, and series 10 was watched"),
        (np.full(12, -1), "none of the 6 watched series has a class from 0 to 1"),
        (np.zeros(12), "one whole number a series"),
        (np.zeros((12, 1), int), r"shape \(12, 1\)"),
    ],
)
def test_classes_that_do_not_belong_to_the_snapshots_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        figures.embedding(make_snapshots(), classes, ["winter", "summer"])


def test_the_same_snapshots_give_the_same_bytes():
    first, second = (figures.embedding(make_snapshots(), np.arange(12) // 6, ["a", "b"]) for _ in range(2))
    assert first == second
