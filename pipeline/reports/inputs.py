"""The inputs of a year, with checksums, for the report."""

from collections.abc import Mapping
from typing import Any

import zarr

from pipeline.base.fingerprint import content_digest
from pipeline.config.config import Config
from pipeline.cube import layout


def inputs(config: Config, cube: zarr.Group, result: zarr.Group, accuracy: Mapping[str, Any] | None) -> list[list[str]]:
    """Return a row for every input: its kind, its name, and its checksum.

    Args:
        config: of the year.
        cube: that was ingested.
        result: the map.
        accuracy: the content of accuracy.json, which names reference and regions; None: there was no reference map.
    """
    about = layout.attributes(cube)
    made = layout.attributes(cube)["stages"]["ingest"]["fingerprint"]
    rows = [
        [
            "observations",
            f"{about['source']}, {about['granules']:,} files or dates",
            f"{made} (of all of their content)",
        ],
        ["outline", config.region.outline.name, f"sha256 {content_digest(config.region.outline)}"],
        ["model", config.model.name, str(layout.attributes(result)["model"])],
    ]
    if accuracy is None:
        return rows
    year = f", {accuracy['reference_year']}" if accuracy["reference_year"] else ""
    product = f"{accuracy['reference_product']}: " if accuracy["reference_product"] else ""
    rows.append(
        ["reference", f"{product}{accuracy['reference']}{year}", str(accuracy["reference_digest"] or "not known")]
    )
    if accuracy["regions"]:
        rows.append(["regions", accuracy["regions"], f"sha256 {accuracy['regions_digest']}"])
    return rows
