"""The table of options: every setting that commands, `sitscube plan` and the flows share is declared here, once.

Neither typer nor Prefect is imported: `command_line.py` turns the table into options of typer, `flows/parameters.py`
turns it into parameters of Prefect's forms.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import Field

from pipeline.base.settings import Count
from pipeline.config.config import Config, load_config
from pipeline.config.sections import FIRST_YEAR, LAST_YEAR

Year = Annotated[int, Field(ge=FIRST_YEAR, le=LAST_YEAR)]
SchedulerAddress = Annotated[str, Field(pattern=r"^(local|(tcp|tls|ws|wss|ucx)://\S+)$")]
Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Option:
    """One setting.

    Attributes:
        key: key of the configuration as `load_config` takes it; empty for the configuration's file itself.
        type: type of the value. Prefect's form checks its bounds; values of the command line are checked by the
            configuration, whose errors name the key.
        help: text on the command line.
        description: text in Prefect's form; empty where no flow has this option.
        flag: name on the command line where it differs from the option's name.
    """

    key: str
    type: Any
    help: str
    description: str = ""
    flag: str = ""


OPTIONS: Final[Mapping[str, Option]] = {
    "year": Option(
        "year",
        Year,
        "Year of the observations.",
        "of the observations; like every parameter, what is left out comes from the configuration.",
    ),
    "out": Option(
        "out",
        str,
        "Folder of all outputs, or a URL such as s3://bucket/prefix.",
        "folder of all outputs, or a URL such as s3://bucket/prefix.",
    ),
    "config_file": Option(
        "", Path, "TOML configuration.", "TOML configuration, counted from where the worker runs.", flag="--config"
    ),
    "granules": Option(
        "ingest__granules",
        Path,
        "Folder of VNP15A2H granules; without it Italy is simulated.",
        "folder of VNP15A2H granules; without it, or download.enabled, Italy is simulated.",
    ),
    "reference": Option(
        "reference__path",
        Path,
        "EUCROPMAP GeoTIFF or folder of WorldCereal zips to compare with.",
        "crop map to compare with, a EUCROPMAP GeoTIFF or a folder of WorldCereal zips.",
    ),
    "regions": Option(
        "evaluation__regions", Path, "GeoJSON of polygons, WGS 84: areas and accuracy are given for each."
    ),
    "grid": Option("ingest__grid", str, "epsg3035-1km, epsg<code>-<size>m, sinusoidal-463m or -927m."),
    "qc": Option("ingest__qc", str, "Which observations count: strict, standard, loose or custom."),
    "iterations": Option(
        "training__iterations", Count, "Iterations of joint training; 3000 as in the paper.", "of joint training."
    ),
    "sample_pixels": Option("training__sample_pixels", int, "Pixels drawn for training."),
    "target": Option("training__target", str, "Cluster sizes of the target over: sample or all."),
    "tol": Option("training__tol", float, "Training ends when fewer labels change than this share."),
    "w_gen": Option("training__w_gen", float, "Weight of the adversarial loss; 0: no discriminator."),
    "seed": Option("seed", int, "Of sampling and training."),
    "outputs": Option(
        "inference__outputs", list[str], "Arrays of map.zarr to write, such as label,confidence; default: all four."
    ),
    "as_of": Option(
        "ingest__as_of",
        date,
        "Of a running year: later composites are not missing.",
        "day by which composites are expected; nothing: the one that the run is scheduled for.",
    ),
    "model_year": Option(
        "inference__model_year",
        Year,
        "Map with the trained model of that year instead of training one.",
        "of the model that maps them; nothing: the latest year before that has one.",
    ),
    "scheduler": Option(
        "cluster__scheduler",
        SchedulerAddress,
        "local, or the address of a Dask scheduler; default: in process.",
        'address of a Dask scheduler; "local" or nothing: workers on this machine.',
    ),
    "workers": Option("cluster__workers", Count, "Workers of the local cluster.", "of the local cluster."),
}


def flag(name: str) -> str:
    """Return an option's name on the command line: `--as-of`."""
    return OPTIONS[name].flag or f"--{name.replace('_', '-')}"


def configure(given: Mapping[str, object], **fixed: object) -> Config:
    """Build the configuration from the values of options.

    Args:
        given: values by the names of the table; None means not given.
        fixed: further keys of the configuration, with a double underscore after the section.

    Raises:
        UserError: the file cannot be read, or a key or value is unknown or wrong.
    """
    return load_config(config_file(given), **overrides(given), **fixed)


def config_file(given: Mapping[str, object]) -> Path | None:
    """Return the TOML file among the values of options."""
    return cast(Path | None, given.get("config_file"))


def overrides(given: Mapping[str, object]) -> dict[str, object]:
    """Return the values of options as overrides of `load_config`."""
    return {OPTIONS[name].key: _read(name, value) for name, value in given.items() if OPTIONS[name].key}


def names_in(text: str | None) -> list[str] | None:
    """Return the names in a list with commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _read(name: str, value: object) -> object:
    """Read a value as the command line has it: a day as a moment, a list as text with commas."""
    if isinstance(value, datetime):
        return value.date()
    return names_in(value) if OPTIONS[name].type == list[str] and isinstance(value, str) else value


def set_signature(function: Function, names: Sequence[str], annotation: Callable[[str], object]) -> Function:
    """Set the signature that typer and Prefect read: the function itself takes the options as `**given`.

    Parameters of its own keep their type and default; they come first, or where `names` has them. A parameter that it
    declares only to take the value of an option, and that `names` has, is as the table says.

    Args:
        function: command or flow.
        names: options, and parameters of its own that do not come first, in the order of the help.
        annotation: returns the type of the parameter for an option.
    """
    signature = inspect.signature(function)
    own = {name: one for name, one in signature.parameters.items() if one.kind is not one.VAR_KEYWORD}
    first = [name for name in own if name not in names]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation(name))
        if name in names and name in OPTIONS
        else own[name].replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name in (*first, *names)
    ]
    cast(Any, function).__signature__ = signature.replace(parameters=parameters)
    return function
