"""The HTML of all pages: one environment with the templates, and how they write numbers."""

import base64
from functools import cache
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.cube.label_names import in_words
from pipeline.reports.numbers import decimals, interval, number, percent, percentage, square_kilometres, whole

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render(template: str, **context: object) -> str:
    """Return the text of a template, such as "report.html", filled with these values.

    Texts are escaped, and a name that the template uses and the context lacks is an error.

    Raises:
        jinja2.UndefinedError: the context lacks a name.
    """
    return _environment().get_template(template).render(**context)


def embedded(picture: bytes) -> str:
    """Return a picture in base64, as a page holds it that needs no other file."""
    return base64.b64encode(picture).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(
        decimals=decimals,
        interval=interval,
        km2=square_kilometres,
        number=number,
        percent=percent,
        percent_interval=lambda estimate: interval(estimate, scale=100, digits=1),
        percentage=percentage,
        whole=whole,
        words=in_words,
    )
    return environment
