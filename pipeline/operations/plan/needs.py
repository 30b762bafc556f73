"""Memory and disk that the stages of a run need, before anything is done."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from pipeline.base.errors import UserError
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube.channels import filled_name, spread_names
from pipeline.cube.clusters import years_to_write
from pipeline.cube.disk_space import added_bytes, gigabytes, known_ratios
from pipeline.cube.label_names import unnamed
from pipeline.cube.layout import Layer
from pipeline.cube.map_layers import CONFIDENCE, LABEL, map_layers
from pipeline.operations.plan.states import Findings
from pipeline.runtime.executor import Capacity
from pipeline.stages.ingest.strips import layers as ingest_layers
from pipeline.stages.ingest.strips import pixels_per_cell, strip_width
from pipeline.stages.memory import (
    Work,
    check_sample,
    infer_bytes,
    ingest_bytes,
    prepare_bytes,
    stage_bytes,
    task_problem,
    training_bytes,
    training_limit,
    work_of,
)
from pipeline.stages.prepare import layers as prepare_layers

_FORMULAS: Final = {"ingest": ingest_bytes, "prepare": prepare_bytes, "infer": infer_bytes}
Disk = dict[str, dict[str, int] | None]  # bytes that a stage adds, by stage and by array; None: unknown


def memory_of_stages(found: Findings, where: Capacity) -> tuple[dict[str, int], list[str]]:
    """Return the bytes that a worker needs by stage, and the problems: what does not fit.

    Args:
        found: what is to be done.
        where: the workers of the executor.
    """
    config = found.config
    needed, problems = {}, []
    work = _work(found)
    for stage, state in found.states.items():
        if state.kind in ("done", "refused"):
            continue
        if stage == "train":
            n = min(found.train_cells, config.training.sample_pixels)
            needed[stage] = training_bytes(n, found.n_dates, len(found.channels), config.training.batch_size)
            try:
                limit = training_limit(where)
                check_sample(config, n, found.n_dates, len(found.channels), limit)
            except UserError as error:
                problems.append(f"train: {error}")
        elif stage in _FORMULAS:
            formula = _FORMULAS[stage]
            needed[stage] = stage_bytes(formula, work, where)
            way_out = _advice(work) if stage == "infer" else ""
            if problem := task_problem(Stage(stage), formula, work, found.grid.chunk, where, way_out):
                problems.append(problem)
    return needed, problems


def _work(found: Findings) -> Work:
    """Return the largest task of every stage."""
    grid = found.grid
    work = work_of(grid, found.channels, found.n_dates, found.cells, found.config.inference.outputs)
    width = strip_width(found.source, grid)
    scenes = () if found.intake is None else found.intake.inventory.scenes
    return work.reading(width, pixels_per_cell(grid, scenes))


def _advice(work: Work) -> str:
    """Say what leaving out filled series would save."""
    if not work.series_outputs:
        return ""
    less = infer_bytes(work) - infer_bytes(work.without_series())
    return f"Leaving filled and spread out of inference.outputs saves {gigabytes(less)} a task."


def disk_of_stages(found: Findings) -> tuple[Disk, bool]:
    """Return the bytes that every stage adds, and whether they are projected from arrays that are already written."""
    config, grid = found.config, found.grid
    of_cube = known_ratios(config.cube, grid, found.region)
    grows = partial(_growth, found)
    like: dict[str, float] = {}
    for channel, spread in zip(found.channels, spread_names(found.channels), strict=True):
        if channel.name in of_cube:  # filled series compress no better than the series that they fill
            ratio = min(1.0, of_cube[channel.name])
            like |= {filled_name(channel): ratio, spread: ratio}
    outputs = map_layers(unnamed(config.training.clusters), found.channels, config.inference.outputs)
    disk: Disk = dict.fromkeys(found.states)
    disk["ingest"] = grows("ingest", config.cube, ingest_layers(found.channels), {})
    disk["prepare"] = grows("prepare", config.cube, prepare_layers(found.channels), {})
    disk["infer"] = grows("infer", config.map, outputs, like)
    if found.states["publish"].kind != "done":
        layers = map_layers(unnamed(config.training.clusters), found.channels, (LABEL, CONFIDENCE))
        of_year = added_bytes(config.clusters, layers, 1, grid, found.cells, grid.shards, {})
        years = years_to_write(config.clusters, config.year)
        disk["publish"] = {name: years * size for name, size in of_year.items()}
    return disk, bool(of_cube)


def _growth(
    found: Findings, stage: str, path: Location, layers: Sequence[Layer], like: Mapping[str, float]
) -> dict[str, int]:
    """Return the bytes that a stage's shards to do add to a store, by array."""
    to_do = found.states[stage].to_do if stage in found.states else ()
    cells = found.cells if stage == "infer" else found.region
    return added_bytes(path, layers, found.n_dates, found.grid, cells, to_do, like)
