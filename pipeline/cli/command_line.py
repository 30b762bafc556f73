"""Options of typer, made from the table of options."""

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from pipeline.cli.options import OPTIONS, Function, flag, set_signature

ConfigFile = Annotated[Path | None, typer.Option(flag("config_file"), help=OPTIONS["config_file"].help)]
MoreYears = Annotated[list[int] | None, typer.Argument(metavar="[YEAR]...", help="Further years.", show_default=False)]


def with_options(*names: str, **helps: str) -> Callable[[Function], Function]:
    """Give a command the options of these names; it takes their values as `**given`.

    Args:
        names: options in the order of the help, with the command's own where they do not come first.
        helps: other help of an option than the table's.
    """

    def annotation(name: str) -> Any:
        return _annotation(name, helps.get(name, OPTIONS[name].help))

    return lambda command: set_signature(command, names, annotation)


def _annotation(name: str, text: str) -> Any:
    kind = OPTIONS[name].type
    if kind is date:
        return Annotated[datetime | None, typer.Option(flag(name), help=text, formats=["%Y-%m-%d"])]
    if kind == list[str]:
        kind = str  # with commas
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]  # the bounds are checked by the configuration, whose errors name the key
    return Annotated[kind | None, typer.Option(flag(name), help=text)]
