"""A change as files: GeoTIFFs with a style for QGIS, a table, and a page."""

import base64
import csv
import io
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from pipeline.base.files import sweep_partials, write_text
from pipeline.base.locations import Location
from pipeline.cube import layout, stores
from pipeline.cube.label_names import in_words
from pipeline.reports.figures.change import change_colours
from pipeline.reports.products.cog import categories_xml, write_cog
from pipeline.reports.products.qgis import classes_style
from pipeline.stages.change.map import CHANGE, CHANGE_CONFIDENCE, Pair
from pipeline.stages.change.transitions import transition_names

OUTPUTS: Final = (
    "index.html", "change.png", "change.csv", "change.tif", "change.tif.aux.xml", "change.qml", "change_confidence.tif",
    "change.zarr", "change.json",
)  # fmt: skip
_TEMPLATES: Final = Path(__file__).parents[2] / "reports" / "templates"
_COLUMNS: Final = ("table", "from", "to", "value", "standard_error", "low", "high")


def write_rasters(folder: Location, pair: Pair) -> None:
    """Write change.tif and change_confidence.tif, cloud-optimised, of the change.zarr beside them, and their style.

    Raises:
        UserError: what is stored is damaged.
        OSError: a file cannot be written.
    """
    sweep_partials(folder, CHANGE)
    source = stores.open_to_read(folder / "change.zarr")
    names, palette = transition_names(pair.names, pair.years), change_colours(len(pair.names))
    about = layout.attributes(source)
    tags = {
        "SOFTWARE": f"{layout.SOFTWARE} {about['software_version']}",
        "TITLE": about["title"],
        layout.SIMULATED: about["simulated"],
        "FINGERPRINT": pair.mark,
    }
    tags = {key: text for key, text in tags.items() if text}
    flags = {"FLAG_MEANINGS": " ".join(names), "FLAG_VALUES": " ".join(map(str, range(len(names))))}
    change, confidence = folder / f"{CHANGE}.tif", folder / f"{CHANGE_CONFIDENCE}.tif"
    write_cog(change, source, CHANGE, tags=tags | flags, overviews="nearest", colours=palette)
    write_cog(confidence, source, CHANGE_CONFIDENCE, tags=tags, overviews="average")
    write_text(folder / f"{CHANGE}.tif.aux.xml", categories_xml(names))
    write_text(folder / f"{CHANGE}.qml", classes_style(names, palette))


def as_csv(facts: dict[str, Any]) -> str:
    """The numbers of change.json as a table, one a row; areas in km2, shares from 0 to 1.

    Columns: table (what the value is), from and to (labels, or classes of the references), value, standard_error, low
    and high (of the 95 % confidence interval, where it is an estimate).
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(_COLUMNS)
    names, (earlier, later) = facts["labels"], facts["years"]
    for name in ("cells", "mapped_km2", "confidence"):
        for i, row in zip(names, facts[name], strict=True):
            table.writerows((name, i, j, value, "", "", "") for j, value in zip(names, row, strict=True))
    for year, row in zip((earlier, later), facts["mapped_in_one_year_km2"], strict=True):
        table.writerows(
            (f"mapped_in_{year}_only_km2", i, "", value, "", "", "") for i, value in zip(names, row, strict=True)
        )
    table.writerows(
        ("net_mapped_km2", "", j, v, "", "", "") for j, v in zip(names, facts["net_mapped_km2"], strict=True)
    )
    for name in ("changed_km2", "changed_share"):
        table.writerow((name, "", "", facts[name], "", "", ""))
    if facts["estimate"] is not None:
        table.writerows(_estimated(facts["estimate"], names))
    return stream.getvalue()


def _estimated(estimate: dict[str, Any], names: list[str]) -> list[tuple[Any, ...]]:
    classes = estimate["classes"]
    rows = [
        ("estimated_km2", k, m, *_numbers(one))
        for k, row in zip(classes, estimate["transitions_km2"], strict=True)
        for m, one in zip(classes, row, strict=True)
    ]
    rows += [("estimated_net_km2", "", k, *_numbers(one)) for k, one in zip(classes, estimate["net_km2"], strict=True)]
    rows.append(("estimated_changed_km2", "", "", *_numbers(estimate["changed_km2"])))
    if estimate["share_right"] is not None:
        for i, row in zip(names, estimate["share_right"], strict=True):
            rows += [("share_right", i, j, *_numbers(one)) for j, one in zip(names, row, strict=True)]
    if estimate["changed_right"] is not None:
        rows.append(("changed_right", "", "", *_numbers(estimate["changed_right"])))
    return rows


def _numbers(estimate: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(estimate[name] for name in ("value", "standard_error", "low", "high"))


def page(facts: dict[str, Any], picture: bytes) -> str:
    """The page of a change: self-contained HTML."""
    return _render("change.html", facts, picture)


def section(facts: dict[str, Any], picture: bytes) -> str:
    """The change as a section of a year's report: HTML without a frame around it."""
    return _render("change_section.html", facts, picture)


def _render(template: str, facts: dict[str, Any], picture: bytes) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(km2=_km2, percent=_percent, words=in_words)
    return environment.get_template(template).render(
        facts=facts, estimate=facts["estimate"], picture=base64.b64encode(picture).decode()
    )


def _km2(value: float | None) -> str:
    """With a decimal where the number is small."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10 or value == 0 else f"{value:,.1f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
