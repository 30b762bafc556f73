"""Infer: every mapped cell gets its label, confidence and filled series, shard by shard, into `map.zarr`."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from model import JointClustering
from pipeline import layout, stores
from pipeline.calendar import composite_dates
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.executor import Executor, InProcess
from pipeline.fingerprint import fingerprint
from pipeline.grid import Shard
from pipeline.progress import Reporter, Silent
from pipeline.series import from_fraction, mapped_series
from pipeline.stage import StageResult, run_shards
from pipeline.train import model_digest

STAGE: Final = "infer"
VERSION: Final = 1
SEASON_NAMES: Final = ("winter", "summer")  # of two clusters, ordered by the date of their peak


def layers(n_clusters: int) -> tuple[layout.Layer, ...]:
    """The arrays of `map.zarr`."""
    names = SEASON_NAMES if n_clusters == len(SEASON_NAMES) else tuple(f"cluster_{k}" for k in range(n_clusters))
    label = {
        "long_name": "cluster of the year's series, in the order of the date of its peak",
        "flag_values": list(range(n_clusters)),
        "flag_meanings": " ".join(names),
    }
    filled = {"long_name": "FPAR with its gaps filled by the network", "units": "1", "scale_factor": 0.01}
    spread = {
        "long_name": "difference of forward and backward estimate where a gap was filled, 0 where observed",
        "units": "1",
        "scale_factor": 0.01,
    }
    return (
        layout.Layer("label", label),
        layout.Layer("confidence", {"long_name": "soft assignment q of the label", "units": "percent"}),
        layout.Layer("fpar_filled", filled, ("time",)),
        layout.Layer("fill_spread", spread, ("time",)),
    )


def infer(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Label every mapped cell and fill its gaps.

    Writes `map.zarr`: label, confidence (y, x) and fpar_filled, fill_spread (time, y, x), uint8, 255 = not mapped.

    Raises:
        UserError: there is no prepared cube or no trained model, or the output cannot be written.
        ShardsFailed: some shards could not be done.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    cube = stores.require(config.cube, "prepare", "prepare")
    grid = layout.read_grid(cube)
    digest = model_digest(config.model)
    n_clusters = load_model(config.model, digest).n_clusters
    mark = fingerprint(STAGE, VERSION, stores.stage_fingerprint(cube, "prepare"), digest)
    path = config.map
    if stores.is_finished(stores.find(path), STAGE, mark):
        return StageResult(STAGE, False, (path,))
    about = {
        "title": f"seasons of {config.region.name}, {config.year}",
        "source": layout.attributes(cube)["source"],
        "simulated": layout.attributes(cube)["simulated"],
        "model": digest,
    }
    dates = layout.time_axis(composite_dates(config.year))
    group = stores.begin(path, STAGE, mark, grid, layers(n_clusters), axes=[dates], about=about)
    work = partial(
        _infer_shard,
        cube=config.cube,
        target=path,
        model=config.model,
        digest=digest,
        batch=config.inference.batch_pixels,
    )
    shards = stores.shards_to_do(path, [layer.name for layer in layers(n_clusters)], grid)
    labelled = sum(run_shards(executor, work, shards, STAGE, reporter))
    stores.finish(group, STAGE, mark)
    return StageResult(STAGE, True, (path,), {"shards": len(shards), "labelled_now": labelled})


@lru_cache(maxsize=1)
def load_model(folder: Path, digest: str) -> JointClustering:
    """The trained model, loaded once in every process; `digest` makes another content another entry.

    Raises:
        UserError: the files are damaged, or of another version.
    """
    torch.set_num_threads(1)  # networks this small are slower on more, and other workers want the cores
    try:
        return JointClustering.load(folder)
    except (ValueError, OSError) as error:
        raise UserError(f"the model in {folder} cannot be used: {error}. Run `sitscube train` again.") from None


def _infer_shard(shard: Shard, *, cube: Path, target: Path, model: Path, digest: str, batch: int) -> int:
    """Write one shard of every output; returns the number of labelled cells."""
    source, group = stores.open_to_read(cube), stores.open_to_write(target)
    grid = layout.read_grid(source)
    window = grid.window(shard)
    series, mask = mapped_series(source, window)
    out = {name: np.full(mask.shape, layout.MISSING, np.uint8) for name in ("label", "confidence")}
    steps = (series.shape[1], *mask.shape)
    out |= {name: np.full(steps, layout.MISSING, np.uint8) for name in ("fpar_filled", "fill_spread")}
    if len(series):
        for name, values in label_series(load_model(model, digest), series, batch).items():
            out[name][..., mask] = values
    for name in ("fpar_filled", "fill_spread", "confidence", "label"):
        stores.write_shard(group, name, grid, shard, out[name])
    return len(series)


def label_series(estimator: JointClustering, series: np.ndarray, batch: int) -> dict[str, Any]:
    """What the outputs hold, as they are stored, for series (n, T): (n,) or (T, n) uint8 arrays by name."""
    result = estimator.infer(series, batch_size=batch)
    spread = np.where(np.isnan(series), result.spread[..., 0], 0)
    return {
        "label": result.labels.astype(np.uint8),
        "confidence": from_fraction(result.proba.max(axis=1)),
        "fpar_filled": from_fraction(result.filled[..., 0]).T,
        "fill_spread": from_fraction(spread).T,
    }
