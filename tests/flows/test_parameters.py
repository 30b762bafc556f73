"""The forms of the flows: the table of options as Prefect reads it, without a server."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint
from typer.testing import CliRunner

from flows import annual, parameters
from flows.__main__ import app
from flows.parameters import flow_config
from pipeline.base.errors import UserError
from pipeline.cli.options import OPTIONS, flag
from tests.support.paths import ROOT

OF_STAGES = ["year", "out", "config_file", "scheduler", "workers"]
FORMS = {
    "annual_map": [
        "year", "last_complete_year", "out", "config_file", "granules", "reference", "iterations", "scheduler",
        "workers",
    ],
    "backfill": ["years", "out", "config_file", "granules", "scheduler", "workers"],
    "refresh": [
        "year", "model_year", "as_of", "out", "config_file", "granules", "reference", "scheduler", "workers",
    ],
    "download": OF_STAGES,
    "ingest": OF_STAGES,
    "train": ["year", "out", "config_file", "iterations", "scheduler", "workers"],
    "infer": OF_STAGES,
    "evaluate": ["year", "out", "config_file", "reference", "scheduler", "workers"],
    "publish": OF_STAGES,
}  # fmt: skip
# what a flow means by a parameter otherwise than the table does
OTHER = {
    ("backfill", "out"), ("backfill", "granules"), ("refresh", "year"), ("refresh", "out"), ("refresh", "granules"),
    ("refresh", "reference"),
}  # fmt: skip


@pytest.fixture(scope="module")
def flows():
    """The flows as Prefect loads them for the deployments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        deployments = yaml.safe_load((ROOT / "deploy" / "prefect.yaml").read_text())["deployments"]
        found = [load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False) for one in deployments]
        names = [one["entrypoint"].rpartition(":")[2] for one in deployments]
    assert [one.name for one in found] == names
    assert [one._entrypoint.rpartition(":")[2] for one in found] == names
    return {one.name: one for one in found}


def test_every_deployment_finds_its_flow_and_every_form_has_its_parameters(flows):
    assert {name: list(one.parameters.properties) for name, one in flows.items()} == FORMS
    assert all(isinstance(one, Flow) for one in flows.values())
    assert {name: one.parameters.required for name, one in flows.items() if one.parameters.required} == {
        "backfill": ["years"]
    }


def test_the_forms_describe_parameters_as_the_table_does(flows):
    for name, one in flows.items():
        for parameter, about in one.parameters.properties.items():
            if parameter in OPTIONS and (name, parameter) not in OTHER:
                assert about["description"] == OPTIONS[parameter].description
            assert about["description"]
            assert f"    {parameter}: {about['description']}" in one.description.splitlines()
    described = {name for name, option in OPTIONS.items() if option.description}
    assert described == {name for form in FORMS.values() for name in form} & set(OPTIONS)


@pytest.mark.parametrize(
    ("flow", "given"),
    [
        ("annual_map", {"year": 1800}),
        ("annual_map", {"workers": 0}),
        ("annual_map", {"iterations": 0}),
        ("train", {"scheduler": "somewhere"}),
        ("backfill", {"years": []}),
        ("backfill", {"years": [1800]}),
        ("refresh", {"as_of": "soon"}),
        ("refresh", {"model_year": 1800}),
        ("ingest", {"colour": "red"}),
    ],
)
def test_a_form_refuses_what_cannot_be(flows, flow, given):
    with pytest.raises((ParameterTypeError, TypeError)):
        flows[flow].validate_parameters(given)


def test_values_of_a_form_become_the_configuration_and_dask_workers_start_here(monkeypatch):
    config = flow_config({"year": 2019, "iterations": 7, "workers": 2, "out": "there"})
    assert (config.year, config.training.iterations, config.cluster.workers) == (2019, 7, 2)
    assert config.cluster.scheduler == "local"
    assert flow_config({"scheduler": "tcp://there:1"}).cluster.scheduler == "tcp://there:1"
    scheduled = SimpleNamespace(scheduled_start_time=datetime(2024, 1, 20, tzinfo=UTC))
    monkeypatch.setattr(parameters, "flow_run", scheduled)
    assert flow_config({"year": None}, last_complete_year=True).year == 2023
    with pytest.raises(UserError, match="year = 2019 and last_complete_year are both given"):
        flow_config({"year": 2019}, last_complete_year=True)


@pytest.mark.parametrize("completed", [True, False])
def test_the_flow_on_the_command_line_takes_the_options_of_the_table_and_tells_how_it_ended(monkeypatch, completed):
    seen = []

    def annual_map(**given):
        seen.append(given)
        return SimpleNamespace(message="that was it", is_completed=lambda: completed)

    monkeypatch.setattr(annual, "annual_map", annual_map)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    ended = CliRunner().invoke(app, ["--year", "2018", "--config", "some.toml", "--workers", "2"])
    assert ended.exit_code == (0 if completed else 1)
    assert "that was it" in ended.output
    given = {name: value for name, value in seen[0].items() if value is not None}
    assert (given.pop("year"), str(given.pop("config_file")), given.pop("workers")) == (2018, "some.toml", 2)
    assert given == {"return_state": True}
    names = [name for name in FORMS["annual_map"] if name != "last_complete_year"]
    assert [name for name in seen[0] if name != "return_state"] == names
    help_ = CliRunner().invoke(app, ["--help"]).output
    assert all(flag(name) in help_ for name in names)
