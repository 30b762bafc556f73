"""The pages of the repository: their blocks, and what is wrong with the commands, names and links in them."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel

from flows import cli
from pipeline.base.errors import UserError
from pipeline.config.config import Config, load_config
from tests.support.paths import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*.md")])
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
        for part in re.split(r"\s&&\s|\s\|\s", re.sub(r"(^|\s)#.*|\s>\s*\S+", "", line)):
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
    command = typer.main.get_command(cli.commands.app)
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
        is_name = text.startswith("sitscube") and "--" not in text  # a command that is named, not one to be run
        found = commands(f"{text} --help" if is_name else text)
        return "; ".join(filter(None, map(problem_of_command, found))) or None
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
    if found is None or key in (*found.model_fields, "json", "png", "zarr"):
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
