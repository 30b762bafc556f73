"""The command `sitscube plan`."""

import json
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from pipeline.config import load_config

if TYPE_CHECKING:  # with it come torch and Dask, which `sitscube --help` need not wait for
    from pipeline.plan import Line, Plan

_WIDTH = 100  # columns
