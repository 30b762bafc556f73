"""What `plan` says of every stage is what the stage itself finds when it runs."""

import shutil

import pytest

from pipeline.base.progress import Silent
from pipeline.cube import stores
from pipeline.operations.plan.plan import make_plan
from pipeline.operations.plan.states import look_at_stages
from pipeline.runtime.executor import InProcess
from pipeline.stages.infer.stage import infer
from pipeline.stages.run import run_stage
from tests.support.small_country import make_country, small_config, stamps

STAGES = ("ingest", "prepare", "train", "infer", "evaluate", "publish")


def kinds(config):
    return {name: state.kind for name, state in look_at_stages(config, InProcess(), Silent()).states.items()}


def changed(finished, **overrides):
    """Return the configuration of the finished run with other settings, on the same outputs."""
    settings = {"ingest__shard": 16, "ingest__chunk": 8, **overrides}
    return small_config(finished.region.outline.parent, finished.out, **settings)


def from_stage(first):
    """Return the states where all stages before one are done, that one is done again, and the others come after it."""
    place = STAGES.index(first)
    return {
        name: "done" if n < place else "again" if n == place else "after" for n, name in enumerate(STAGES)
    }  # fmt: skip


def test_of_a_finished_run_every_stage_is_done_and_nothing_is_written(finished):
    before = stamps(finished.out)
    plan = make_plan(finished, InProcess(), Silent())
    assert [line.state.kind for line in plan.lines] == ["done"] * len(STAGES)
    assert (plan.disk_needed, plan.seconds, plan.problems) == (0, 0.0, [])
    assert stamps(finished.out) == before


@pytest.mark.parametrize(
    ("first", "overrides"),
    [
        ("ingest", {"ingest__qc": "strict"}),
        ("ingest", {"ingest__shard": 24}),
        ("prepare", {"preparation__min_observations": 20}),
        ("prepare", {"preparation__cropland": "all"}),
        ("train", {"training__iterations": 31}),
        ("train", {"seed": 7}),
    ],
)
def test_a_changed_setting_shows_exactly_the_stages_that_depend_on_it(finished, first, overrides):
    assert kinds(changed(finished, **overrides)) == from_stage(first)


def test_other_outputs_are_told_as_more_to_do_in_infer_alone(finished):
    found = look_at_stages(changed(finished, inference__outputs=["label", "confidence"]), InProcess(), Silent())
    assert found.states["infer"].kind == "goes on"
    assert found.states["infer"].to_do == ()
    assert found.states["train"].kind == "done"


def test_settings_of_the_cluster_change_nothing(finished):
    assert set(kinds(changed(finished, cluster__workers=7, cluster__max_failures=3)).values()) == {"done"}


def test_the_plan_names_the_shards_that_the_stage_then_does(finished, config, monkeypatch):
    shutil.copytree(finished.out, config.out)
    shutil.rmtree(config.map)
    done = []
    write = stores.write_record

    def stop_after_three(group, stage, shard, record):
        write(group, stage, shard, record)
        done.append(shard)
        if len(done) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(stores, "write_record", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        infer(config)
    state = look_at_stages(config, InProcess(), Silent()).states["infer"]
    n = len(done) + len(state.to_do)
    assert str(state) == f"goes on: 3 of {n} shards done"
    assert set(state.to_do).isdisjoint(done)
    first, done[:] = list(done), []
    monkeypatch.setattr(stores, "write_record", lambda *a: (write(*a), done.append(a[2])))
    infer(config)
    assert tuple(done) == state.to_do
    assert len(first) + len(done) == n


def test_a_new_granule_redoes_the_shards_that_it_touches_and_what_follows(finished, config, tmp_path):
    shutil.copytree(finished.out, config.out)
    shutil.copytree(config.granules, tmp_path / "granules")
    fewer = config.model_copy(update={"ingest": config.ingest.model_copy(update={"granules": tmp_path / "granules"})})
    assert set(kinds(fewer).values()) == {"done"}  # content counts, not the folder
    next(iter(sorted((tmp_path / "granules").iterdir()))).unlink()
    found = look_at_stages(fewer, InProcess(), Silent())
    assert found.states["ingest"].kind in ("again", "goes on")
    assert found.states["ingest"].to_do
    assert found.states["prepare"].after == "ingest"


def test_before_anything_exists_the_grid_gives_the_shards(config):
    plan = make_plan(config, InProcess(), Silent(), probe=False)
    states = {line.state.stage: line.state for line in plan.lines}
    assert str(states["ingest"]) == "to do"
    assert str(states["infer"]) == "after train"
    assert len(states["infer"].to_do) == states["infer"].n_shards == len(states["ingest"].to_do) > 1
    assert not config.out.exists()


@pytest.mark.slow
def test_every_mix_of_finished_stages_is_told(config):
    for name in STAGES:
        found = look_at_stages(config, InProcess(), Silent())
        assert found.states[name].kind == "to do"
        assert [state.kind for state in found.states.values() if state.kind == "after"] == ["after"] * (
            len(STAGES) - 1 - STAGES.index(name)
        )
        run_stage(name, config, InProcess(), Silent())
        assert look_at_stages(config, InProcess(), Silent()).states[name].kind == "done"


def test_an_output_at_a_url_is_planned_like_one_on_a_disk(country):
    config = small_config(country, "memory://planned", ingest__shard=16, ingest__chunk=8)
    plan = make_plan(config, InProcess(), Silent(), probe=False)
    assert plan.disk_free is None
    assert any("nobody tells how much room" in warning for warning in plan.warnings)
    run_stage("ingest", config, InProcess(), Silent())
    assert kinds(config)["ingest"] == "done"
    assert kinds(config)["prepare"] == "to do"


def test_granules_that_are_not_there_are_a_problem_and_not_an_end(country, tmp_path):
    config = small_config(country, tmp_path / "out", ingest__granules=tmp_path / "nowhere")
    plan = make_plan(config, InProcess(), Silent())
    assert plan.lines[0].state.kind == "refused"
    assert any("nowhere" in problem for problem in plan.problems)


def test_a_replaced_reference_map_redoes_the_preparation(finished, tmp_path):
    make_country(tmp_path / "other", seed=1)
    other = tmp_path / "other" / "reference.tif"
    assert set(kinds(changed(finished, reference__path=other)).values()) == {"done"}  # the same map elsewhere
    content = bytearray(other.read_bytes())
    content += b"\0"
    other.write_bytes(content)
    assert kinds(changed(finished, reference__path=other)) == from_stage("prepare")
