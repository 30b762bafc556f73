"""The labels of a map in numbers, for the report."""

from typing import TypedDict

import numpy as np
import zarr

from pipeline.cube import layout, stores
from pipeline.cube.map_layers import CONFIDENCE, LABEL
from pipeline.grid.grid import cell_area_km2


class LabelRow(TypedDict):
    """What the map holds of one label."""

    name: str
    cells: int
    area: float  # km2
    confidence: float | None  # mean, 0 to 1; None without cells, or where the map has no confidence


def label_rows(result: zarr.Group, names: list[str]) -> list[LabelRow]:
    """Count cells, area and mean confidence of every label, shard by shard."""
    known = CONFIDENCE in stores.layer_names(result)
    grid = layout.read_grid(result)
    cells, confidence = np.zeros(len(names), np.int64), np.zeros(len(names))
    for shard in grid.shards:
        window = grid.window(shard)
        label = stores.read_window(result, LABEL, window)
        mapped = label != layout.MISSING
        cells += np.bincount(label[mapped], minlength=len(names))
        if known:
            percent = stores.read_window(result, CONFIDENCE, window)[mapped]
            confidence += np.bincount(label[mapped], percent, minlength=len(names))
    area = cell_area_km2(grid.geobox)
    return [
        {"name": name, "cells": int(n), "area": area * int(n), "confidence": total / (100 * n) if n and known else None}
        for name, n, total in zip(names, cells, confidence, strict=True)
    ]
