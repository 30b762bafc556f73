"""Algorithm 1: check 6 of the method, the ways of keeping P, and what happens when training goes wrong."""

import copy
import itertools

import pytest
import torch

from model import (
    Discriminator,
    TrainingDiverged,
    cluster_loss,
    prediction_loss,
    reconstruction_loss,
    target_distribution,
)
from model.networks.joint import JointModel
from model.parameters import TrainingOptions, training_options
from model.training.algorithm import JointTraining
from model.training.state import read_state

DEFAULTS = {
    "preset": "paper",
    "n_iter": 6,
    "batch_size": 16,
    "target_interval": 3,
    "target_memory": "assignments",
    "tol": 0.0,
    "adversarial": "paper",
    "discriminator_input": "imputed",
    "adversarial_interval": 1,
    "masked_reconstruction": True,
    "w_rec": 1.0,
    "w_pre": 1.0,
    "w_clu": 1.0,
    "w_gen": 1.0,
    "learning_rate": 0.01,
    "discriminator_learning_rate": 0.01,
    "clip_norm": 1.0,
}


def training(progress=lambda report: None, dtype=torch.float32, **changes) -> JointTraining:
    options = TrainingOptions(**{k: v for k, v in (DEFAULTS | changes).items() if k != "preset"})
    rng = torch.Generator().manual_seed(3)
    model = JointModel(9, 1, 2, 5, 5, adversarial=options.w_gen > 0, rng=rng).to(dtype)
    x = torch.rand(40, 9, 1, generator=rng).to(dtype)
    m = torch.rand(x.shape, generator=rng) < 0.6
    with torch.no_grad():
        z = model.autoencoder.encode(x[:2].flatten(1))
        model.centres.copy_(z)
    return JointTraining(model, torch.where(m, x, 0), m, options, rng, progress)


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_check_6_each_step_leaves_the_other_networks_as_they_were():
    run = training()
    target = run.renew_target(None)
    before = weights(run.model)
    take_step, after_steps = run.safeguards.step, []

    def watched(loss, optimiser):
        done = take_step(loss, optimiser)
        after_steps.append(weights(run.model))
        return done

    run.safeguards.step = watched
    run.iterate(torch.arange(16), target)
    discriminator_step, generator_step = (changed(a, b) for a, b in itertools.pairwise([before, *after_steps]))
    own = {name for name in before if name.startswith("discriminator.")}
    assert discriminator_step == own
    assert generator_step
    assert not generator_step & own
    assert {name.split(".")[0] for name in generator_step} == {"generator", "autoencoder", "centres"}


def test_one_iteration_is_gradient_descent_on_the_weighted_sum_of_the_losses():
    names = ("w_pre", "w_rec", "w_clu")
    for chosen in names:
        run = training(dtype=torch.float64, clip_norm=0, w_gen=0.0, **{n: 2.0 * (n == chosen) for n in names})
        target = run.renew_target(None)
        model, rows = copy.deepcopy(run.model), torch.arange(16)
        x, m = run.x[rows], run.m[rows]
        out = model(x, m)
        p = target_distribution(out.q, target.cluster_sizes)
        loss = {
            "w_pre": prediction_loss(x, out.x_hat, m),
            "w_rec": reconstruction_loss(out.x_tilde, model.autoencoder.decode(out.z), m),
            "w_clu": cluster_loss(p, out.q),
        }[chosen]
        parameters = model.clustering_parameters()
        gradients = torch.autograd.grad(2 * loss, parameters, allow_unused=True)
        run.iterate(rows, target)
        for parameter, gradient, result in zip(parameters, gradients, run.model.clustering_parameters(), strict=True):
            step = 0 if gradient is None else 0.01 * gradient
            torch.testing.assert_close(result, parameter - step, rtol=0, atol=1e-13)


def test_gradients_are_clipped_to_the_given_norm():
    free, clipped = training(clip_norm=0, w_gen=0.0), training(clip_norm=1e-3, w_gen=0.0)
    length = []
    for run in (free, clipped):
        target, before = run.renew_target(None), weights(run.model)
        run.iterate(torch.arange(16), target)
        after = weights(run.model)
        length.append(sum(float((after[n] - before[n]).square().sum()) for n in before) ** 0.5)
    assert length[0] > 1e-3
    assert length[1] == pytest.approx(0.01 * 1e-3, rel=1e-3)


@pytest.mark.parametrize("w_gen", [0.0, 1.0])
def test_check_4_both_ways_of_keeping_the_target_train_the_same_model(w_gen):
    kept, frozen = (training(target_memory=way, w_gen=w_gen, n_iter=12) for way in ("assignments", "frozen"))
    kept.run()
    frozen.run()
    for name, value in kept.model.state_dict().items():
        torch.testing.assert_close(frozen.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_frozen_target_does_not_move_between_updates():
    run = training(target_memory="frozen")
    target, rows = run.renew_target(None), torch.arange(16)
    before = target.assign(rows, run.x[rows], run.m[rows])
    for _ in range(3):
        run.iterate(rows, target)
    assert torch.equal(target.assign(rows, run.x[rows], run.m[rows]), before)
    assert not torch.equal(run.model(run.x[rows], run.m[rows]).q, before)


def test_target_updates_come_every_interval_and_report_the_training_set():
    seen = []
    run = training(progress=seen.append, n_iter=8, target_interval=3)
    target = run.run()
    assert [update["iteration"] for update in run.updates] == [0, 3, 6, 8]
    assert [report["step"] for report in seen] == [8]
    last = run.updates[-1]
    with torch.no_grad():
        outcome = run.model(run.x, run.m)
    assert last["prediction_loss"] == pytest.approx(float(prediction_loss(run.x, outcome.x_hat, run.m)), rel=1e-6)
    assert last["cluster_sizes"] == torch.bincount(outcome.q.argmax(1), minlength=2).tolist()
    assert torch.equal(target.labels, outcome.q.argmax(1))
    torch.testing.assert_close(target.cluster_sizes, outcome.q.sum(0))
    assert last["centre_distance"] == pytest.approx(float(torch.dist(*run.model.centres.detach())), rel=1e-6)
    assert set(last["losses"]) == {"rec", "pre", "clu", "dis", "gen"}
    assert run.updates[0]["losses"]["rec"] is None
    assert run.updates[0]["label_change"] is None
    assert all(abs(value) > 0 for value in last["losses"].values())


def test_tol_stops_when_too_few_labels_change_but_not_before_the_second_interval():
    run = training(n_iter=30, target_interval=3, tol=1.0, w_gen=0.0, learning_rate=1e-9)
    run.run()
    assert run.n_iter == 6
    assert [update["label_change"] for update in run.updates] == [None, 0, 0]
    assert run.events == [{"event": "stopped early", "iteration": 6, "label_change": 0, "tol": 1.0}]
    never = training(n_iter=30, target_interval=3, tol=0.0, w_gen=0.0, learning_rate=1e-9)
    never.run()
    assert never.n_iter == 30
    assert never.events == []


def test_tol_is_the_share_of_labels_that_changed():
    changes = iter([None, 0.5, 0.3, 0.25, 0.1, 0.0])
    run = training(n_iter=30, target_interval=3, tol=0.25, w_gen=0.0)
    record = run.records.add
    run.records.add = lambda *a: (record(*a), run.updates[-1].update(label_change=next(changes)))
    run.run()
    assert run.n_iter == 12
    assert run.events[0]["label_change"] == 0.1


def test_labels_that_rest_because_training_went_back_do_not_stop_it():
    run = training(n_iter=15, target_interval=3, tol=1.0, w_gen=0.0, learning_rate=1e-9)
    healthy = run.iterate

    def drifting(rows, target):
        losses = healthy(rows, target)
        if run.n_iter in (6, 8):
            with torch.no_grad():
                run.model.generator.bias_imp.fill_(50.0)
        return losses if run.n_iter != 8 else None

    run.iterate = drifting
    run.run()
    happened = [(event["event"], event["iteration"]) for event in run.events]
    assert happened == [("prediction loss diverged", 6), ("loss not finite", 8), ("stopped early", 12)]


def test_the_end_of_training_is_no_early_stop():
    run = training(n_iter=6, target_interval=3, tol=1.0, w_gen=0.0, learning_rate=1e-9)
    run.run()
    assert run.events == []


def test_without_adversarial_weight_no_discriminator_is_ever_built(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("a discriminator was built")

    monkeypatch.setattr(Discriminator, "__init__", refuse)
    run = training(w_gen=0.0)
    run.run()
    assert run.model.discriminator is None
    assert run.updates[-1]["losses"]["dis"] is None


def test_the_game_is_played_every_so_many_iterations_and_its_losses_are_means_over_those():
    moved, shown = [], []
    run = training(adversarial_interval=3, n_iter=7, target_interval=7, progress=lambda event: None)
    iterate = run.iterate

    def watched(rows, target):
        before = weights(run.model)
        losses = iterate(rows, target)
        moved.append(any(name.startswith("discriminator.") for name in changed(before, weights(run.model))))
        shown.append(losses)
        return losses

    run.iterate = watched
    run.run()
    assert moved == [False, False, True, False, False, True, False]
    means = run.updates[-1]["losses"]
    assert means["dis"] == pytest.approx(float(shown[2][3] + shown[5][3]) / 2)
    assert means["pre"] == pytest.approx(float(sum(losses[1] for losses in shown)) / 7)


@pytest.mark.parametrize(
    "changes", [{"adversarial": "nonsaturating"}, {"discriminator_input": "merged"}, {"w_gen": 0.1}, {"w_clu": 0.0}]
)
def test_options_change_the_training(changes):
    plain, other = training(), training(**changes)
    plain.run()
    other.run()
    assert changed(weights(plain.model), weights(other.model)) >= {
        "generator.weight_hh",
        "autoencoder.encoder.0.weight",
    }


def test_discriminator_learning_rate_is_that_of_the_discriminator_alone():
    plain, other = training(n_iter=1), training(n_iter=1, discriminator_learning_rate=0.001)
    plain.run()
    other.run()
    start = training().model.state_dict()["discriminator.output.weight"]
    step, small_step = (run.model.state_dict()["discriminator.output.weight"] - start for run in (plain, other))
    torch.testing.assert_close(step, 10 * small_step, rtol=1e-3, atol=1e-6)  # Adam's first step is its learning rate


def test_a_loss_that_is_not_finite_returns_to_the_last_good_state_at_half_the_learning_rate(caplog):
    run = training(n_iter=6)
    healthy = run.iterate

    def poisoned(rows, target):
        if run.n_iter == 5:
            with torch.no_grad():
                run.model.generator.weight_hh.fill_(float("nan"))
                run.model.discriminator.output.weight.fill_(float("nan"))
        return healthy(rows, target)

    states = {}
    run.iterate = poisoned
    run.progress = lambda report: None
    keep = run.renew_target

    def update(before):
        target = keep(before)
        states[run.n_iter] = weights(run.model)
        return target

    run.renew_target = update
    undo = run.safeguards.return_to
    restored = []
    run.safeguards.return_to = lambda *a: (undo(*a), restored.append(weights(run.model)))
    run.run()
    assert [(event["event"], event["iteration"]) for event in run.events] == [("loss not finite", 5)]
    assert not changed(restored[0], states[3])
    assert run.optimiser.param_groups[0]["lr"] == 0.005
    assert run.discriminator_optimiser.param_groups[0]["lr"] == 0.005
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())
    assert "loss not finite at iteration 5" in caplog.text


@pytest.mark.parametrize(
    ("poisoned", "steps"),
    [("discriminator.output.weight", 1), ("autoencoder.decoder.0.weight", 2)],
    ids=["in the D step", "in the G step"],
)
def test_either_step_recovers_from_a_loss_that_is_not_finite(poisoned, steps):
    run = training(n_iter=6)
    healthy, take_step, finite = run.iterate, run.safeguards.step, []

    def poison(rows, target):
        if run.n_iter == 5:
            with torch.no_grad():
                dict(run.model.named_parameters())[poisoned].fill_(float("nan"))
        return healthy(rows, target)

    def step(loss, optimiser):
        done = take_step(loss, optimiser)
        if run.n_iter == 5:
            finite.append(done)
        return done

    good = {}
    keep = run.records.add
    run.records.add = lambda *a: (keep(*a), good.setdefault(run.n_iter, weights(run.model)))
    undo, restored = run.safeguards.return_to, []
    run.safeguards.return_to = lambda *a: (undo(*a), restored.append(weights(run.model)))
    run.iterate, run.safeguards.step = poison, step
    run.run()
    assert finite == [True] * (steps - 1) + [False]
    assert not changed(restored[0], good[3])
    assert run.n_iter == 6
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())
    assert [event["event"] for event in run.events] == ["loss not finite"]


def test_moments_of_the_discriminator_return_with_its_weights():
    run = training(n_iter=3)
    run.run()
    kept = copy.deepcopy(run.discriminator_optimiser.state_dict()["state"])
    state, rows = read_state(run.model, run.safeguards.optimisers), torch.arange(16)
    run.iterate(rows, run.compute_target())
    run.safeguards.return_to(state, "loss not finite", run.n_iter)
    for moments, expected in zip(
        run.discriminator_optimiser.state_dict()["state"].values(), kept.values(), strict=True
    ):
        assert all(torch.equal(moments[name], expected[name]) for name in ("step", "exp_avg", "exp_avg_sq"))


def test_losses_that_are_never_finite_end_in_an_error():
    run = training(n_iter=100)
    run.iterate = lambda rows, target: None
    with pytest.raises(TrainingDiverged, match=r"11 times.*learning_rate below 0\.01"):
        run.run()
    assert run.n_iter == 11


def test_a_diverging_generator_returns_to_the_best_state():
    run = training(n_iter=9, target_interval=3, w_gen=0.0)
    healthy, best = run.iterate, {}

    def drifting(rows, target):
        losses = healthy(rows, target)
        if run.n_iter == 3:
            best.update(weights(run.model))
        if run.n_iter == 6:
            with torch.no_grad():
                run.model.generator.bias_imp.fill_(50.0)
        return losses

    run.iterate = drifting
    update = run.renew_target
    after = {}
    run.renew_target = lambda before: (update(before), after.setdefault(run.n_iter, weights(run.model)))[0]
    run.run()
    (event,) = run.events
    assert (event["event"], event["iteration"]) == ("prediction loss diverged", 6)
    assert event["prediction_loss"] > 1000
    assert event["learning_rate"] == 0.005
    assert not changed(after[6], best)
    assert run.updates[2]["prediction_loss"] == run.updates[1]["prediction_loss"]


@pytest.mark.parametrize("n_clusters", [1, 3])
def test_check_5_training_with_one_cluster_or_an_empty_one_stays_finite(n_clusters):
    run = training()
    run.model.centres = torch.nn.Parameter(torch.full((n_clusters, 5), 1e6))  # all series are nearest to the first
    with torch.no_grad():
        run.model.centres[0] = run.model.autoencoder.encode(run.x[:1].flatten(1))[0]
    run = JointTraining(run.model, run.x, run.m, run.options, torch.Generator(), run.progress)
    target = run.run()
    assert target.labels.tolist() == [0] * 40
    assert run.updates[-1]["cluster_sizes"] == [40] + [0] * (n_clusters - 1)
    assert all(torch.isfinite(value).all() for value in run.model.state_dict().values())
    assert run.events == []


@pytest.mark.parametrize(("n_times", "n_channels"), [(8, 3), (36, 1), (400, 2)])
def test_check_8_single_observations_and_constant_series_of_any_length_train(n_times, n_channels):
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(40, n_times, n_channels, generator=rng)
    m = torch.rand(x.shape, generator=rng) < 0.6
    m[:10] = False
    m[:10, 3, 0] = True  # one observation, and none at all in the other channels
    x[10:20] = 0.5
    options = TrainingOptions(**{k: v for k, v in DEFAULTS.items() if k != "preset"})
    model = JointModel(n_times, n_channels, 2, 5, 5, adversarial=True, rng=rng)
    run = JointTraining(model, torch.where(m, x, 0), m, options, rng, lambda report: None)
    run.run()
    assert run.events == []
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_presets_fill_only_what_was_left_open():
    left_open = {"w_gen": None, "discriminator_learning_rate": None, "clip_norm": None}
    paper = training_options(DEFAULTS | left_open)
    assert (paper.w_gen, paper.discriminator_learning_rate, paper.clip_norm) == (1.0, 0.01, 10.0)
    stable = training_options(DEFAULTS | left_open | {"preset": "stable"})
    assert (stable.w_gen, stable.discriminator_learning_rate, stable.clip_norm) == (0.1, 0.001, 1.0)
    mixed = training_options(DEFAULTS | left_open | {"preset": "stable", "w_gen": 0.0})
    assert (mixed.w_gen, mixed.discriminator_learning_rate) == (0.0, 0.001)
