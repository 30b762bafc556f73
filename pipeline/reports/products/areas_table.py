"""Areas of the labels by region, as a table."""

from typing import Final

import numpy as np
import zarr

from pipeline.base.progress import Task
from pipeline.cube import layout, stores
from pipeline.cube.layout import MISSING
from pipeline.cube.map_layers import CONFIDENCE, LABEL
from pipeline.grid.polygons import Region, region_of_cells
from pipeline.reports.tables import csv_text

COLUMNS: Final = ("year", "region", "label", "name", "cells", "area_km2", "mean_confidence_percent")


def areas_csv(result: zarr.Group, year: int, country: str, regions: list[Region], task: Task) -> str:
    """Count cells, area and mean confidence of every label in every region and in the country, and write them as CSV.

    Args:
        result: the map; where it has no confidence, that column is empty.
        year: of the map.
        country: name of the last rows, which count all mapped cells, those in none of the regions included.
        regions: a cell belongs to the first that contains its centre; none: the country alone.
        task: advances with every shard.

    Raises:
        UserError: what is stored is damaged.
    """
    grid, names = layout.read_grid(result), layout.attributes(layout.array(result, LABEL))["flag_meanings"].split()
    known = CONFIDENCE in stores.layer_names(result)
    shape = (len(regions) + 1, len(names))  # the last row: cells in no region
    cells, confidence = np.zeros(shape, np.int64), np.zeros(shape)
    for shard in grid.shards:
        window = grid.window(shard)
        label = stores.read_window(result, LABEL, window)
        mapped = label != MISSING
        region = region_of_cells(grid.shard_geobox(shard), regions)[mapped].astype(np.int64)  # -1, the last, in none
        where = region % shape[0] * len(names) + label[mapped]
        cells += np.bincount(where, minlength=cells.size).reshape(shape)
        if known:
            percent = stores.read_window(result, CONFIDENCE, window)[mapped]
            confidence += np.bincount(where, percent, minlength=cells.size).reshape(shape)
        task.advance(note=str(shard))
    transform = grid.geobox.transform
    area = abs(transform.a * transform.e - transform.b * transform.d) / 1e6
    parts = [(each.name, cells[k], confidence[k]) for k, each in enumerate(regions)]
    rows = []
    for part, n, total in (*parts, (country, cells.sum(axis=0), confidence.sum(axis=0))):
        for k, name in enumerate(names):
            mean = f"{total[k] / n[k]:.2f}" if known and n[k] else ""
            rows.append((year, part, k, name, n[k], f"{area * n[k]:.6g}", mean))
    return csv_text(COLUMNS, rows)
