import numpy as np

from pipeline.reports import figures


def update(iteration, **parts):
    given = {"losses": {"pre": 2.0 / (iteration + 1), "rec": 1.0, "gen": 0.0}, "cluster_sizes": [30, 70]}
    given |= {"label_change": None if iteration == 0 else 0.1, "centre_distance": 0.5 + iteration}
    if iteration == 0:
        given["losses"] = dict.fromkeys(given["losses"])
    return {"iteration": iteration, **given, **parts}


HISTORY = {
    "pretraining": {"losses": [0.2, 0.1]},
    "updates": [update(i) for i in (0, 140, 280)],
    "events": [
        {"event": "pretraining restarted", "epoch": 5},
        {"event": "prediction loss diverged", "iteration": 140},
        {"event": "prediction loss diverged", "iteration": 280},
        {"event": "loss not finite", "iteration": 200},
    ],
}


def curves(axes):
    """Return the curves with a label, without the lines of events."""
    return {line.get_label(): line.get_data() for line in axes.lines if not line.get_label().startswith("_")}


def test_losses_that_were_computed_are_drawn_from_the_first_update_that_has_them():
    losses = curves(figures.draw_training(HISTORY).axes[0])
    assert list(losses) == [r"$L_{rec}$ reconstruction", r"$L_{pre}$ prediction of observed values"]
    iterations, values = losses[r"$L_{pre}$ prediction of observed values"]
    assert list(iterations) == [0, 140, 280]
    np.testing.assert_allclose(values, [np.nan, 2 / 141, 2 / 281])


def test_a_loss_that_is_negative_is_drawn_and_named_as_its_absolute_value():
    history = HISTORY | {"updates": [update(0), update(140, losses={"gen": -12.0}), update(280, losses={"gen": -3.0})]}
    losses = curves(figures.draw_training(history).axes[0])
    np.testing.assert_allclose(losses[r"$|L_{gen}|$ adversarial"][1], [np.nan, 12, 3])


def test_losses_of_other_methods_are_drawn_by_their_names():
    history = HISTORY | {"updates": [update(10, losses={"kmeans": 3.0, "rec": 1.0})]}
    assert r"$L_{kmeans}$ " in curves(figures.draw_training(history).axes[0])


def test_cluster_sizes_have_the_names_and_colours_of_the_map():
    figure = figures.draw_training(HISTORY, ["winter", "summer"])
    sizes = curves(figure.axes[1])
    assert {name: list(y) for name, (_, y) in sizes.items()} == {"winter": [30, 30, 30], "summer": [70, 70, 70]}
    assert [line.get_color() for line in figure.axes[1].lines[:2]] == figures.colours(2)
    assert list(curves(figures.draw_training(HISTORY).axes[1])) == ["cluster 0", "cluster 1"]


def test_label_change_and_centre_distance_have_panels():
    figure = figures.draw_training(HISTORY)
    np.testing.assert_allclose(figure.axes[2].lines[0].get_ydata(), [np.nan, 0.1, 0.1])
    np.testing.assert_allclose(figure.axes[3].lines[0].get_ydata(), [0.5, 140.5, 280.5])


def test_events_of_joint_training_are_marked_in_every_panel_and_explained_once():
    figure = figures.draw_training(HISTORY)
    for axes in figure.axes:
        marked = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        assert marked == [140, 280, 200]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "prediction loss diverged",
        "loss not finite",
    ]


def test_the_lines_of_a_history_file_give_the_same_picture():
    lines = [{"phase": "pretrain", "epoch": 1, "loss": 0.2}]
    lines += [{"phase": "event", **event} for event in HISTORY["events"]]
    lines += [{"phase": "joint", **line} for line in HISTORY["updates"]]
    assert figures.training(lines) == figures.training(HISTORY)


def test_what_a_history_lacks_is_left_out():
    updates = [{"iteration": i, "losses": {"rec": 1.0 / i}} for i in (50, 100)]
    figure = figures.draw_training({"updates": updates, "events": []})
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.lines] == [
        "losses, means since the update before"
    ]
    assert figures.training({"updates": [], "events": []}).startswith(b"\x89PNG")


def test_a_single_cluster_and_losses_of_zero_are_drawn():
    one = update(0, cluster_sizes=[5], centre_distance=0.0)
    assert figures.training({"updates": [one], "events": []}).startswith(b"\x89PNG")
