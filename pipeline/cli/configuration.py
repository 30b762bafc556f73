"""The commands `sitscube config show` and `sitscube config schema`."""

import json
import sys

import tomli_w
import typer

from pipeline.cli.command_line import ConfigFile
from pipeline.config.config import Config, load_config

app = typer.Typer(help="Show the configuration.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def show(config_file: ConfigFile = None) -> None:
    """Print every setting with its value, as TOML."""
    sys.stdout.write(tomli_w.dumps(load_config(config_file).model_dump(mode="json", exclude_none=True)))


@app.command()
def schema() -> None:
    """Print the JSON schema: every key, its type, meaning and default."""
    sys.stdout.write(json.dumps(Config.model_json_schema(), indent=1) + "\n")
