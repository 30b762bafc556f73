"""What the pages promise: their examples run, and every command, option, key, path and link that they name exists.

Python blocks are executed, TOML blocks are read as configurations, commands are parsed by the real command line.
Every block must say its language, so that none escapes.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel

import flows.cli
from model import CRLI, JointClustering, MeanDEC
from pipeline.base.errors import UserError
from pipeline.config.config import Config, load_config
from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
LANGUAGES = {"python", "sh", "toml", "text", "ini"}  # text and ini are shown, not checked
OTHER_PROGRAMS = {"cd", "dask", "docker", "git", "kubectl", "pre-commit", "prefect", "source", "ssh"}
LISTED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
FILES = set(LISTED) or {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts}
NAMES = {Path(name).name for name in FILES}
TOP = {name.partition("/")[0] for name in FILES if "/" in name}
ENDINGS = (".py", ".md", ".sh", ".yaml", ".yml", ".toml", ".ipynb")


def tokens(page: Path) -> Iterator[Token]:
    """The blocks of a page, and what stands within its lines."""
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        yield token
        yield from token.children or ()


def blocks(page: Path, language: str) -> list[str]:
    return [token.content for token in tokens(page) if token.type == "fence" and token.info.strip() == language]


def inline_code(page: Path) -> list[str]:
    return [token.content for token in tokens(page) if token.type == "code_inline"]


def commands(script: str) -> list[list[str]]:
    """The words of every command of a shell script, without comments, variables before it and its place in .venv."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", script).splitlines():
        for part in re.split(r"\s&&\s|\s\|\s|\s>\s", re.sub(r"(^|\s)#.*", "", line)):
            words = shlex.split(part)
            while words and (words[0] == "export" or re.match(r"[A-Z_]+=", words[0])):
                words.pop(0)
            if words:
                found.append([words[0].removeprefix(".venv/bin/"), *words[1:]])
    return found


def problem_of_command(words: list[str]) -> str | None:
    """Why a command cannot be run, or None."""
    program, *arguments = words
    missing = [word for word in arguments if word.partition("/")[0] in TOP and not exists(word, ROOT)]
    if missing:
        return f"there is no {missing[0]}"
    if program == "sitscube":
        return problem_of_sitscube(arguments)
    if program == "make":
        return problem_of_make(arguments)
    if program == "python":
        return problem_of_module(arguments[1:]) if arguments[0] == "-m" else None
    return None if program in OTHER_PROGRAMS or f"./{program}" in FILES else f"{program} is not known here"


def problem_of_sitscube(arguments: list[str]) -> str | None:
    command = typer.main.get_command(flows.cli.cli.app)
    words = list(arguments)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    try:
        command.make_context("sitscube", words)
    except typer.Exit:  # of --help
        return None
    except Exception as error:
        return str(error)
    return f"no command {words[0]}" if hasattr(command, "commands") and words else None


def problem_of_make(arguments: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    for word in arguments:
        name, is_variable, _ = word.partition("=")
        if not (f"$({name})" in makefile if is_variable else re.search(rf"^{re.escape(name)}:", makefile, re.M)):
            return f"make knows no {name}"
    return None


def problem_of_module(arguments: list[str]) -> str | None:
    """A module with its options: those of `flows` are some of `sitscube run`, others stand in the module's text."""
    name, *options = arguments
    if name == "pipeline":
        return problem_of_sitscube(options)
    if name == "flows":
        return problem_of_sitscube(["run", *options])
    if name == "pytest":
        return None
    path = ROOT / f"{name.replace('.', '/')}.py"
    if not path.is_file():
        return f"there is no module {name}"
    unknown = [word for word in options if word.startswith("--") and f'"{word}"' not in path.read_text()]
    return f"{name} has no option {unknown[0]}" if unknown else None


def exists(path: str, folder: Path) -> bool:
    return any((place / path).exists() for place in (folder, ROOT))


def problem_of_code(text: str, folder: Path) -> str | None:
    """Why what stands in backticks cannot be: a command, a file, a module, or a key of the configuration."""
    if re.match(r"(sitscube|make|python -m) [\w-]", text):
        return "; ".join(filter(None, map(problem_of_command, commands(text)))) or None
    if re.fullmatch(r"\.?\w[\w./-]*", text) and (text.partition("/")[0] in TOP and "/" in text):
        return None if exists(text, folder) else f"there is no {text}"
    if re.fullmatch(r"[\w.-]+", text) and text.endswith(ENDINGS):
        return None if text in NAMES else f"there is no file {text}"
    if re.fullmatch(r"(sitscube|model|pipeline|flows|benchmarks)(\.\w+)+", text):
        return None if is_module_or_name(text) else f"there is no {text}"
    if match := re.fullmatch(r"([a-z]+)\.([a-z_]+)( = .*)?", text):
        return problem_of_key(match[1], match[2])
    return None


def is_module_or_name(dotted: str) -> bool:
    path = ROOT / dotted.replace(".", "/")
    home, _, name = dotted.rpartition(".")
    package = ROOT / home.replace(".", "/")
    texts = [file.read_text() for file in (package.with_suffix(".py"), package / "__init__.py") if file.is_file()]
    return path.is_dir() or path.with_suffix(".py").is_file() or any(re.search(rf"\b{name}\b", t) for t in texts)


def section(name: str) -> type[BaseModel] | None:
    """The class of a section of the configuration, or None."""
    kind = Config.model_fields[name].annotation if name in Config.model_fields else None
    return next((one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)), None)


def problem_of_key(name: str, key: str) -> str | None:
    """A key of a section; files of the outputs may be called after one, such as `training.json`."""
    found = section(name)
    if found is None or key in (*found.model_fields, "json", "png"):
        return None
    return f"[{name}] has no {key}"


def problem_of_variable(variable: str) -> str | None:
    first, _, key = variable.removeprefix("SITSCUBE_").lower().partition("__")
    if first not in Config.model_fields:
        return f"{variable}: no {first} in the configuration"
    return problem_of_key(first, key) if key else None


def problem_of_toml(text: str, folder: Path) -> str | None:
    path = folder / "page.toml"
    path.write_text(text)
    try:
        load_config(path)
    except UserError as error:
        return str(error)
    return None


def links(page: Path) -> list[str]:
    found = [str(token.attrs.get("href") or token.attrs.get("src")) for token in tokens(page) if token.attrs]
    return [link for link in found if link != "None" and not re.match(r"\w+:", link)]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def problem_of_link(link: str, page: Path) -> str | None:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    if not target.exists():
        return f"{link} leads nowhere"
    return f"{target.name} has no heading {anchor}" if anchor and anchor not in anchors(target) else None


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
