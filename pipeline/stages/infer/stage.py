"""Infer: label every mapped cell and fill its gaps, shard by shard, into `map.zarr`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import zarr

from model import JointClustering
from pipeline.base.accounting import count_pixels
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint, fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.label_names import names_of
from pipeline.cube.map_layers import map_layers, maps_crops
from pipeline.cube.masks import count_cells
from pipeline.cube.series import mapped_numbers
from pipeline.cube.shard_writer import ShardWriter
from pipeline.cube.trained_model import fitting_model, load_model, model_digest
from pipeline.cube.zarr_access import location_of
from pipeline.grid.grid import Shard
from pipeline.runtime import per_process
from pipeline.runtime.executor import Executor
from pipeline.runtime.overlap import stages_in_turn
from pipeline.runtime.stage import StageResult
from pipeline.stages.context import Run
from pipeline.stages.infer.labelling import label_series
from pipeline.stages.memory import batch_pixels, infer_bytes, work_of
from pipeline.stages.shard_stage import ShardStage

STAGE: Final = Stage.INFER
VERSION: Final = 4


def infer(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Label every mapped cell and fill its gaps.

    Writes `map.zarr`: label, confidence (y, x), uint8, 255 = not mapped, and <channel>_filled, fill_spread (time, y, x)
    as the channel is stored (with several channels, <channel>_fill_spread); only those that inference.outputs names.

    Raises:
        UserError: there is no prepared cube or no trained model, the model is not for such a cube, or the output
            cannot be written.
        ShardsFailed: some shards could not be done.
    """
    run = Run.of(config, executor, reporter)
    cube = stores.require(config.cube, Stage.PREPARE, "prepare")
    digest = model_digest(config.model)
    stage = infer_stage(config, cube, digest)
    if stage.is_finished():
        return StageResult(STAGE, False, (config.map,))
    key = f"model-{digest}"
    overlap = run.executor.describe().gpu_workers > 0
    batch = config.inference.batch_pixels
    task = InferTask(config.cube, stage.writer, stage.method, stage.layers, key, batch, overlap)
    model = run.executor.on_every_worker(key, partial(_load_same, config.model, digest))
    labelled = stage.carry_out(run, task, around=model, gpu=True)
    return StageResult(STAGE, True, (config.map,), {"shards": len(labelled), "labelled_now": sum(labelled)})


def infer_stage(config: Config, cube: zarr.Group, digest: str) -> ShardStage:
    """Return what infer writes with the model of this digest.

    Raises:
        UserError: the model cannot be used on the cube.
    """
    labels = names_of(fitting_model(config.model, cube), crops=maps_crops(cube))
    grid, channels = layout.read_grid(cube), read_channels(cube)
    method, cells = infer_method(cube, labels, digest), count_cells(cube, "mask")
    return ShardStage(
        STAGE,
        config.map,
        infer_fingerprint(cube, digest),
        grid,
        tuple(map_layers(labels, channels, config.inference.outputs)),
        shard_fingerprints(cube, method, grid.shards),
        method=method,
        axes=(layout.time_axis(layout.read_dates(cube)),),
        about=_about(config, cube, digest),
        alone=True,
        cells=cells,
        work=work_of(grid, channels, layout.array(cube, "time").shape[0], cells, config.inference.outputs),
        memory=infer_bytes,
    )


def infer_fingerprint(cube: zarr.Group, digest: str) -> Fingerprint:
    """Return the fingerprint of a map: of the prepared cube and of the model's content."""
    return fingerprint_of(STAGE, VERSION, stores.stage_fingerprint(cube, Stage.PREPARE), digest)


def infer_method(cube: zarr.Group, labels: Sequence[str], digest: str) -> Fingerprint:
    """Return the fingerprint of all but the observations: grid, channels, names of the labels, model."""
    return fingerprint_of(STAGE, VERSION, stores.stage_method(cube, Stage.INGEST), labels, digest)


def shard_fingerprints(cube: zarr.Group, method: Fingerprint, shards: Sequence[Shard]) -> dict[Shard, Fingerprint]:
    """Return the fingerprints of single shards of the map: of the method, and of the prepared cube in each."""
    made_from = stores.stage_fingerprint(cube, Stage.PREPARE)
    return stores.fingerprints_after(location_of(cube), Stage.PREPARE, made_from, method, shards)


def _about(config: Config, cube: zarr.Group, digest: str) -> dict[str, object]:
    """Return the attributes of the map."""
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
    """Load the model with which inference began.

    Raises:
        UserError: it has been replaced since: the model of another year may be trained again meanwhile.
    """
    model = load_model(folder, device)
    if model_digest(folder) != digest:
        raise UserError(f"the model in {folder} has been replaced since inference began: run `sitscube infer` again.")
    return model


@dataclass(frozen=True)
class InferTask:
    """The work on one shard: read, label and fill, write. It is called with a shard and returns its mapped cells."""

    cube: Location
    writer: ShardWriter
    method: Fingerprint  # of `infer_method`
    layers: tuple[layout.Layer, ...]
    key: str  # of the model in `per_process`
    batch: int | None
    overlap: bool = False  # whether other shards are read and written while one is computed

    def __call__(self, shard: Shard) -> int:
        """Write one shard of every array; of a shard without mapped cells only the mask is read."""
        source = stores.open_to_read(self.cube)
        grid, channels = layout.read_grid(source), read_channels(source)
        made_from = shard_fingerprints(source, self.method, [shard])[shard]
        numbers, mask = mapped_numbers(source, grid.window(shard), channels)
        n_dates, cells = numbers[channels[0].name].shape[0], np.flatnonzero(mask)
        whole = partial(self._whole_arrays, n_dates, mask.shape, cells)
        if len(cells) == 0:
            self.writer.write(grid, shard, whole({}), made_from, cells=0)
            return 0
        with stages_in_turn(overlap=self.overlap) as turn_to_write:
            model = per_process.get(self.key)
            wanted = [layer.name for layer in self.layers]
            found = label_series(model, numbers, channels, self.batch or batch_pixels(model), wanted)
            del numbers  # the outputs need the memory
            turn_to_write()
            self.writer.write(grid, shard, whole(found), made_from, cells=len(cells))
        count_pixels(len(cells))
        return len(cells)

    def _whole_arrays(
        self, n_dates: int, shape: tuple[int, ...], cells: np.ndarray, found: dict[str, np.ndarray]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield name and data (..., y, x) of every array of a shard: values in the cells, missing elsewhere.

        Args:
            n_dates: of the arrays with a time axis.
            shape: cells along y and x.
            cells: flat indices (n,) of the cells with values.
            found: values (..., n) by array; each is removed as soon as it is in place.
        """
        buffers: dict[tuple[object, ...], np.ndarray] = {}  # reused: the next array has values in the same cells
        for layer in self.layers:
            form = ((*((n_dates,) if layer.lead else ()), *shape), layer.fill, layer.dtype)
            data = buffers[form] if form in buffers else buffers.setdefault(form, np.full(*form))
            if layer.name in found:
                put_cells(data, cells, found.pop(layer.name))
            yield layer.name, data


def put_cells(data: np.ndarray, cells: np.ndarray, values: np.ndarray) -> None:
    """Write values (..., n) of cells into data (..., y, x) in place: date by date is twice as fast as all at once."""
    dates = data.reshape(-1, data.shape[-2] * data.shape[-1])
    for date, numbers in zip(dates, values.reshape(-1, len(cells)), strict=True):
        date[cells] = numbers
