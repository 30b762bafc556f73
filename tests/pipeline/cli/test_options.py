"""One table of options: commands show it, and their values become the configuration."""

import subprocess
import sys
from datetime import date

import pytest
import typer.main

from flows.cli import commands
from pipeline.cli.options import OPTIONS, configure, flag
from pipeline.cli.plan import plan
from pipeline.config.config import Config, key_paths, load_config
from tests.support.paths import ROOT

COMMANDS = typer.main.get_command(commands.app).commands
RUN = [
    "--year", "--out", "--config", "--granules", "--reference", "--regions", "--grid", "--qc", "--iterations",
    "--sample-pixels", "--target", "--tol", "--w-gen", "--seed", "--outputs", "--as-of", "--model-year", "--scheduler",
    "--workers",
]  # fmt: skip
STAGES = ("simulate", "download", "ingest", "prepare", "train", "infer", "evaluate", "publish")


def shown(command):
    """Help of a command's options, by their names on the command line."""
    return {one.opts[0]: one.help for one in COMMANDS[command].params}


def test_the_commands_are_those_that_others_script_against():
    assert list(COMMANDS) == [
        "run", *STAGES, "compare", "change", "plan", "reference", "export", "status", "serve", "config",
    ]  # fmt: skip


def test_run_and_plan_have_every_option_of_the_table():
    assert [name for name in shown("run") if name != "--help"] == RUN
    assert [name for name in shown("plan") if name != "--help"] == [*RUN, "--probe", "--json"]
    assert [flag(name) for name in OPTIONS] == RUN


@pytest.mark.parametrize("command", ["run", "plan", *STAGES])
def test_help_is_the_table_s(command):
    table = {flag(name): option.help for name, option in OPTIONS.items()}
    other = {"--granules": "Folder to put them in; default: OUT/archive/."} if command == "download" else {}
    for name, text in shown(command).items():
        assert name not in table or text == (table | other)[name]


def test_every_option_of_the_table_belongs_to_a_stage_and_to_a_key_of_the_configuration():
    of_stages = {name for command in STAGES for name in shown(command)}
    assert {flag(name) for name in OPTIONS} <= of_stages
    keys = {option.key.replace("__", ".") for option in OPTIONS.values() if option.key}
    assert keys <= set(key_paths())
    assert len(keys) == len(OPTIONS) - 1  # all but the configuration's file


def test_values_of_the_command_line_become_the_configuration(tmp_path, monkeypatch):
    file = tmp_path / "one.toml"
    file.write_text("year = 2019\nseed = 3\n")
    seen = []
    monkeypatch.setattr("pipeline.cli.stages._do", lambda config, *stages: seen.append((config, stages)))
    runner = typer.main.get_command(commands.app)
    values = {"--outputs": "label, confidence", "--as-of": "2018-06-30", "--tol": "0.01", "--workers": "3"}
    runner.main(["run", "--config", str(file), *sum(values.items(), ())], standalone_mode=False)
    runner.main(["ingest", "--year", "2018", "--grid", "sinusoidal-927m"], standalone_mode=False)
    (whole, stages), (one, names) = seen
    assert (stages, names) == ((), ("ingest",))
    assert whole == load_config(
        file, inference__outputs=["label", "confidence"], ingest__as_of=date(2018, 6, 30), training__tol=0.01,
        cluster__workers=3,
    )  # fmt: skip
    assert isinstance(whole, Config)
    assert (one.year, one.ingest.grid) == (2018, "sinusoidal-927m")


def test_what_is_not_given_changes_nothing():
    assert configure({}) == configure(dict.fromkeys(OPTIONS)) == load_config()


def test_a_name_that_is_neither_in_the_table_nor_the_commands_own_is_refused():
    from pipeline.cli.command_line import with_options

    with pytest.raises(KeyError, match="colour"):
        with_options("colour")(plan)


def test_help_waits_for_no_torch_distributed_prefect_or_matplotlib():
    heavy = ("torch", "distributed", "xarray", "prefect", "matplotlib")
    program = (
        "import sys\nfrom flows.cli import main\nsys.argv = ['sitscube', 'run', '--help']\n"
        f"try:\n    main()\nexcept SystemExit:\n    print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
