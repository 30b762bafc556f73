"""Infer: every mapped cell gets its label, confidence and filled series, shard by shard, into `map.zarr`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import zarr

from model import JointClustering
from pipeline.base.accounting import count_pixels
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import fingerprint
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.disk_space import check_room
from pipeline.cube.label_names import names_of
from pipeline.cube.map_layers import map_layers, maps_crops
from pipeline.cube.masks import count_cells
from pipeline.cube.series import mapped_numbers
from pipeline.cube.trained_model import fitting_model, load_model, model_digest
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Grid, Shard
from pipeline.runtime import per_process
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.overlap import stages_in_turn
from pipeline.runtime.stage import StageResult, run_shards
from pipeline.stages.infer.labelling import label_series
from pipeline.stages.memory import batch_pixels, check_tasks, infer_bytes, work_of

STAGE: Final = "infer"
VERSION: Final = 4


def infer(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Label every mapped cell and fill its gaps.

    Writes `map.zarr`: label, confidence (y, x), uint8, 255 = not mapped, and <channel>_filled, fill_spread (time, y, x)
    as the channel is stored (with several channels, <channel>_fill_spread); those that inference.outputs names.

    Raises:
        UserError: there is no prepared cube or no trained model, the model is not for such a cube, or the output
            cannot be written.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    cube = stores.require(config.cube, "prepare", "prepare")
    grid, channels = layout.read_grid(cube), read_channels(cube)
    digest = model_digest(config.model)
    labels = names_of(fitting_model(config.model, cube), crops=maps_crops(cube))
    mark, method = infer_mark(cube, digest), infer_method(cube, labels, digest)
    path = config.map
    arrays = map_layers(labels, channels, config.inference.outputs)
    names = [array.name for array in arrays]
    known = stores.find(path)
    if known is not None and stores.is_finished(known, STAGE, mark) and stores.layer_names(known) == set(names):
        return StageResult(STAGE, False, (path,))
    cells, where = count_cells(cube, "mask"), executor.describe()
    work = work_of(grid, channels, layout.array(cube, "time").shape[0], cells, config.inference.outputs)
    check_tasks(STAGE, infer_bytes, work, grid.chunk, where)
    stores.begin(path, STAGE, mark, grid, arrays, axes=_axes(cube), about=_about(config, cube, digest), method=method)
    stores.match_layers(path, STAGE, grid, arrays)
    shards = stores.shards_to_do(path, STAGE, shard_marks(cube, method, grid.shards), names, grid)
    check_room(path, arrays, work.n_dates, grid, cells, shards)
    key = f"model-{digest}"
    task = InferTask(
        config.cube, path, mark, method, arrays, key, config.inference.batch_pixels, overlap=where.gpu_workers > 0
    )
    with executor.on_every_worker(key, partial(_load_same, config.model, digest)):
        pixels = sum(cells[shard] for shard in shards)
        labelled = sum(run_shards(executor, task, shards, STAGE, reporter, pixels=pixels, gpu=True))
    stores.finish(stores.open_to_write(path), STAGE, mark)
    return StageResult(STAGE, True, (path,), {"shards": len(shards), "labelled_now": labelled})


def infer_mark(cube: zarr.Group, digest: str) -> str:
    """Fingerprint of a map: of the prepared cube and of the model's content."""
    return fingerprint(STAGE, VERSION, stores.stage_fingerprint(cube, "prepare"), digest)


def infer_method(cube: zarr.Group, labels: Sequence[str], digest: str) -> str:
    """Fingerprint of all that a map depends on but the observations: grid, channels, names of the labels, model."""
    return fingerprint(STAGE, VERSION, stores.stage_method(cube, "ingest"), labels, digest)


def shard_marks(cube: zarr.Group, method: str, shards: Sequence[Shard]) -> dict[Shard, str]:
    """Fingerprints of what the map holds in single shards: of the method, and of the prepared cube in each."""
    made_from = stores.stage_fingerprint(cube, "prepare")
    return stores.marks_after(location_of(cube), "prepare", made_from, method, shards)


def _axes(cube: zarr.Group) -> list[layout.Axis]:
    return [layout.time_axis(layout.read_dates(cube))]


def _about(config: Config, cube: zarr.Group, digest: str) -> dict[str, Any]:
    about = layout.attributes(cube)
    newest = about.get("newest_composite", "")  # cubes of earlier versions do not say
    so_far = f", composites to {newest}" if about.get("awaited_composites") else ""
    return {
        "title": f"{'seasons of' if maps_crops(cube) else 'clusters of'} {config.region.name}, {config.year}{so_far}",
        "source": about["source"],
        "simulated": about["simulated"],
        "channels": about["channels"],
        "model": digest,
        "model_year": config.inference.model_year or config.year,
        "newest_composite": newest,
    }


def _load_same(folder: Location, digest: str, device: str) -> JointClustering:
    """The model that inference has begun with: that of another year may be trained anew meanwhile."""
    model = load_model(folder, device)
    if model_digest(folder) != digest:
        raise UserError(f"the model in {folder} has been replaced since inference began: run `sitscube infer` again.")
    return model


@dataclass(frozen=True)
class InferTask:
    """The work on one shard: read, label and fill, write. Called with the shard, it gives the number of its cells."""

    cube: Location
    target: Location
    mark: str  # with which the stage was begun
    method: str  # of `infer_method`
    arrays: tuple[layout.Layer, ...]
    key: str  # under which the model is held
    batch: int | None
    overlap: bool = False  # whether other shards are read and written while one is computed

    def __call__(self, shard: Shard) -> int:
        """Write one shard of every output; of a shard without mapped cells nothing but the mask is read."""
        source = stores.open_to_read(self.cube)
        grid, channels = layout.read_grid(source), read_channels(source)
        own = shard_marks(source, self.method, [shard])[shard]
        numbers, mask = mapped_numbers(source, grid.window(shard), channels)
        n_dates, cells = numbers[channels[0].name].shape[0], np.flatnonzero(mask)
        if len(cells) == 0:
            self._write(shard, own, grid, n_dates, mask.shape, cells, {})
            return 0
        with stages_in_turn(overlap=self.overlap) as turn_to_write:
            model = per_process.get(self.key)
            wanted = [array.name for array in self.arrays]
            found = label_series(model, numbers, channels, self.batch or batch_pixels(model), wanted)
            del numbers  # the outputs take memory enough
            turn_to_write()
            self._write(shard, own, grid, n_dates, mask.shape, cells, found)
        count_pixels(len(cells))
        return len(cells)

    def _write(
        self,
        shard: Shard,
        own: str,
        grid: Grid,
        n_dates: int,
        shape: tuple[int, ...],
        cells: np.ndarray,
        found: dict[str, np.ndarray],
    ) -> None:
        """Write the outputs: `found` (..., n) in the cells, whose numbers count along the rows, missing elsewhere.

        `own` is the fingerprint of the shard's content.
        """
        with stores.writing(self.target, STAGE, self.mark) as group:
            stores.discard_record(group, STAGE, shard)
            buffers: dict[tuple[object, ...], np.ndarray] = {}  # the next array has values in the same cells
            for array in self.arrays:
                form = ((*((n_dates,) if array.lead else ()), *shape), array.fill, array.dtype)
                data = buffers[form] if form in buffers else buffers.setdefault(form, np.full(*form))
                if array.name in found:
                    put_cells(data, cells, found.pop(array.name))
                stores.write_shard(group, array.name, grid, shard, data)
            stores.write_record(group, STAGE, shard, {"mark": own, "cells": len(cells)})


def put_cells(data: np.ndarray, cells: np.ndarray, values: np.ndarray) -> None:
    """Put values (..., n) of cells into data (..., y, x), in place: date by date, twice as fast as all at once."""
    dates = data.reshape(-1, data.shape[-2] * data.shape[-1])
    for date, numbers in zip(dates, values.reshape(-1, len(cells)), strict=True):
        date[cells] = numbers
