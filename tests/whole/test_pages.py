"""What the pages promise: their examples run, and every command, option, key, path and link that they name exists.

Python blocks are executed, TOML blocks are read as configurations, commands are parsed by the real command line.
Every block must say its language, so that none escapes.
"""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from model import CRLI, JointClustering, MeanDEC
from tests.support.pages import (
    PAGES,
    blocks,
    commands,
    inline_code,
    links,
    problem_of_code,
    problem_of_command,
    problem_of_link,
    problem_of_toml,
    problem_of_variable,
    tokens,
)
from tests.support.paths import ROOT

LANGUAGES = {"python", "sh", "toml", "text", "ini"}  # text and ini are shown, not checked


def on_every_page(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))(test)


def test_there_are_the_pages_that_readers_look_for():
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/decisions.md"} <= names
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


@on_every_page
def test_every_block_says_its_language(page):
    assert not [token.content for token in tokens(page) if token.type == "code_block"]
    assert {token.info.strip() for token in tokens(page) if token.type == "fence"} <= LANGUAGES


@on_every_page
def test_commands_exist_with_their_options(page):
    found = [words for script in blocks(page, "sh") for words in commands(script)]
    assert [(words, problem) for words in found if (problem := problem_of_command(words))] == []


@on_every_page
def test_what_stands_in_backticks_exists(page):
    assert [problem for text in inline_code(page) if (problem := problem_of_code(text, page.parent))] == []
    variables = re.findall(r"SITSCUBE_[A-Z][A-Z_]*[A-Z]", page.read_text())
    assert [problem for name in variables if (problem := problem_of_variable(name))] == []


@on_every_page
def test_links_lead_somewhere(page):
    assert [problem for link in links(page) if (problem := problem_of_link(link, page))] == []


@on_every_page
def test_configurations_are_valid(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [problem for text in blocks(page, "toml") if (problem := problem_of_toml(text, tmp_path))] == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_runs(page, finished, tmp_path, monkeypatch):
    """On a few made-up series, and on the finished run of a small country; trainings are cut short."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "italy").symlink_to(finished.region_folder, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    for estimator in (CRLI, JointClustering, MeanDEC):
        monkeypatch.setattr(estimator, "fit", cut_short(estimator.fit))
    X = np.random.default_rng(0).random((60, 6), dtype=np.float32)
    X[::3, 2] = np.nan
    namespace = {"X": X}
    try:
        for code in blocks(page, "python"):
            exec(compile(code, str(page), "exec"), namespace)
    finally:
        plt.close("all")


def cut_short(fit):
    """The same training with two iterations of each part."""

    def short(self, *arguments, **keywords):
        lengths = {"n_iter": 2, "warm_up": 2, "pretrain_epochs": 1}
        self.set_params(**{name: value for name, value in lengths.items() if name in self.get_params()})
        return fit(self, *arguments, **keywords)

    return short


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("sitscube run --yaer 2018", "--yaer"),
        ("sitscube run --year MMXVIII", "integer"),
        ("sitscube mapp --year 2018", "mapp"),
        ("sitscube config shown", "shown"),
        (".venv/bin/sitscube reference --input a.tif", "--?out|target"),
        ("A=1 python -m flows --colour red", "--colour"),
        ("python -m benchmarks.nothing", "no module"),
        ("cd x && python -m benchmarks.kills --cats 50", "--cats"),
        ("make tests", "tests"),
        ("make run YAER=2018", "YAER"),
        ("sitscube run --config deploy/france.toml", r"deploy/france\.toml"),
        ("sitscoob run", "not known"),
    ],
)
def test_a_wrong_command_is_found(command, problem):
    found = [problem_of_command(words) for words in commands(f"{command}  # a comment")]
    assert re.search(problem, " ".join(filter(None, found)))


@pytest.mark.parametrize(
    "text",
    [
        "pipeline/data/references/",
        "test_nothing.py",
        "sitscube runs --year 2018",
        "model.Nothing",
        "pipeline.cubes.nothing",
        "ingest.qx",
        "reference.weaker = true",
    ],
)
def test_a_wrong_name_in_backticks_is_found(text):
    assert problem_of_code(text, ROOT) is not None


@pytest.mark.parametrize(
    "text", ["pipeline/references/tables/", "model.JointClustering", "ingest.qc", "training.json", "accuracy.csv", "X"]
)
def test_a_right_name_in_backticks_is_left_alone(text):
    assert problem_of_code(text, ROOT) is None


def test_other_faults_are_found(tmp_path):
    assert problem_of_toml('[ingest]\nqcc = "strict"', tmp_path) is not None
    assert problem_of_variable("SITSCUBE_TRAINING__ITERATION") is not None
    assert problem_of_link("docs/nothing.md", ROOT / "README.md") is not None
    assert problem_of_link("#no-such-heading", ROOT / "README.md") is not None
    page = tmp_path / "page.md"
    page.write_text("text\n\n    sitscube run\n\n```sh\nmake run\n```\n")
    assert [token.type for token in tokens(page) if token.type in ("code_block", "fence")] == ["code_block", "fence"]
