"""The state that each stage would find if it ran: by the same fingerprints, and without writing anything."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from pipeline.base.calendar import composite_dates
from pipeline.base.channel import Channel
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import Fingerprint
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube import clusters, stores
from pipeline.cube.masks import count_cells
from pipeline.cube.trained_model import model_digest, read_record
from pipeline.grid.grid import Grid, Shard, cells_inside, make_grid
from pipeline.grid.polygons import read_outline
from pipeline.reports.comparison import comparison_section
from pipeline.runtime.executor import Executor
from pipeline.sources.source import Source
from pipeline.stages import prepare, publish
from pipeline.stages.context import Run
from pipeline.stages.evaluate import accuracy_path, evaluate_fingerprint, read_accuracy
from pipeline.stages.infer.stage import infer_stage
from pipeline.stages.ingest.stage import Intake, strips_left, take_in
from pipeline.stages.ingest.strips import Strip
from pipeline.stages.reference import open_reference, reference_fingerprint
from pipeline.stages.run import planned
from pipeline.stages.shard_stage import ShardStage
from pipeline.stages.simulate.stage import files_to_write
from pipeline.stages.sources import open_source
from pipeline.stages.train.stage import state_folder, train_fingerprint
from pipeline.stages.train.task import begun_with

Kind = Literal["done", "to do", "goes on", "again", "after", "refused"]
SHARDED: Final = ("ingest", "prepare", "infer")


@dataclass(frozen=True)
class StageState:
    """The state of a stage."""

    stage: str
    kind: Kind
    to_do: tuple[Shard, ...] = ()
    n_shards: int = 0  # 0: the stage has none
    after: str = ""  # the stage that it waits for
    note: str = ""

    @property
    def n_done(self) -> int:
        """Return the number of shards that stay as they are."""
        return self.n_shards - len(self.to_do)

    def __str__(self) -> str:
        if self.kind == "goes on" and self.n_shards:
            return f"goes on: {self.n_done} of {self.n_shards} shards done"
        if self.kind == "again":
            return "again: the configuration or its inputs have changed"
        text = f"after {self.after}" if self.kind == "after" else self.kind
        return f"{text}: {self.note}" if self.note else text


@dataclass
class Findings:
    """The stages of a run with their states, and what was found on the way."""

    config: Config
    grid: Grid
    source: Source
    channels: tuple[Channel, ...]
    n_dates: int
    region: dict[Shard, int]  # cells of every shard in the region
    cells: dict[Shard, int]  # mapped cells of every shard; those of the region until they are known
    cells_known: bool
    train_cells: int  # that training may draw from
    states: dict[str, StageState] = field(default_factory=dict)
    strips: list[Strip] = field(default_factory=list)  # to ingest
    intake: Intake | None = None

    @property
    def waiting_for(self) -> str:
        """Return the last of the stages so far that is not done; empty where all are."""
        return next((name for name, state in reversed(self.states.items()) if state.kind != "done"), "")


def look_at_stages(config: Config, executor: Executor, reporter: Reporter) -> Findings:
    """Find the state of every stage of a whole run.

    Args:
        config: of the run.
        executor: opens the files.
        reporter: receives the progress.

    Raises:
        UserError: the region or the grid cannot be used, or the outputs' place has other files.
    """
    outline = read_outline(config.region.outline)
    grid = make_grid(config.ingest.grid, outline, config.ingest.shard, config.ingest.chunk)
    dates = composite_dates(config.year, config.ingest.calendar)
    cells = cells_inside(grid, outline)
    source = open_source(config)
    found = Findings(config, grid, source, source.channels, len(dates), cells, cells, False, sum(cells.values()))
    for stage in planned(config):
        before = found.waiting_for
        try:
            if before:
                shards = grid.shards if stage in SHARDED else ()
                found.states[stage] = StageState(stage, "after", shards, len(shards), before)
            else:
                found.states[stage] = _LOOK[stage](found, executor, reporter)
        except UserError as error:
            found.states[stage] = StageState(stage, "refused", note=str(error))
    return found


def _simulate(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    missing, n_files = files_to_write(found.config)
    if not missing:
        return StageState("simulate", "done")
    there = any(path.exists() for path in missing)
    kind: Kind = "again" if there else "to do" if len(missing) == n_files else "goes on"
    return StageState("simulate", kind, note=f"{len(missing)} of {n_files} files missing")


def _download(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    """Count granules; only the catalogue knows of more, and a year with all expected ones counts as done."""
    outline = read_outline(found.config.region.outline)
    expected = len(found.source.expected(outline))
    try:
        there = len(found.source.files(outline))
    except UserError:  # no folder yet, or nothing in it
        there = 0
    if there >= expected:
        return StageState("download", "done")
    return StageState("download", "goes on" if there else "to do", note=f"{there} of {expected} granules there")


def _ingest(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    intake = found.intake = take_in(Run(config, executor, reporter))
    if not intake.stage.is_finished():
        found.strips = strips_left(intake)
    return _sharded(intake.stage)


def _prepare(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    cube = stores.require(config.cube, Stage.INGEST, "ingest")
    cropland = prepare.choose_cropland(config, cube)
    of_reference = None
    if cropland == "reference" and config.reference_path is not None:
        of_reference = reference_fingerprint(open_reference(config), found.grid)
    stage = prepare.prepare_stage(config, cube, cropland, of_reference)
    if stage.is_finished():
        found.cells, found.cells_known = count_cells(cube, "mask"), True
        found.train_cells = sum(count_cells(cube, "train_mask").values())
    return _sharded(stage)


def _train(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    fingerprint = train_fingerprint(config, stores.require(config.cube, Stage.PREPARE, "prepare"))
    record = read_record(config.model)
    if record is not None and record["fingerprint"] == fingerprint:
        return StageState("train", "done")
    if begun_with(state_folder(config)) == fingerprint:
        return StageState("train", "goes on", note="from its last state")
    return StageState("train", "to do" if record is None else "again")


def _infer(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    cube = stores.require(config.cube, Stage.PREPARE, "prepare")
    return _sharded(infer_stage(config, cube, model_digest(config.model)))


def _evaluate(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    source = config.reference_path
    if source is not None and (config.reference.path is not None or source.exists()):
        of_reference: Fingerprint | None = reference_fingerprint(open_reference(config), found.grid)
    else:
        of_reference = stores.stage_fingerprint_at(config.reference_grid, Stage.REFERENCE)
    fingerprint = evaluate_fingerprint(config, stores.stage_fingerprint_at(config.map, Stage.INFER), of_reference)
    written = read_accuracy(config)
    if written is not None and written["fingerprint"] == fingerprint:
        return StageState("evaluate", "done")
    return StageState("evaluate", "again" if accuracy_path(config).exists() else "to do")


def _publish(found: Findings, executor: Executor, reporter: Reporter) -> StageState:
    config = found.config
    map_fingerprint = clusters.map_fingerprint(stores.open_to_read(config.map))
    accuracy, comparison = read_accuracy(config), comparison_section(config)
    fingerprint = publish.publish_fingerprint(config, map_fingerprint, accuracy, comparison)
    if publish.is_published(config, fingerprint, map_fingerprint):
        return StageState("publish", "done")
    return StageState("publish", "again" if publish.is_written(config) else "to do")


def _sharded(stage: ShardStage) -> StageState:
    """Return how far a stage is that works shard by shard, as it finds it itself."""
    n = len(stage.grid.shards)
    if stage.is_finished():
        return StageState(stage.name, "done", (), n)
    begun, to_do = stores.stage_fingerprint_at(stage.path, stage.name), stage.to_do()
    if len(to_do) < n or (begun == stage.fingerprint and not to_do):
        return StageState(stage.name, "goes on", to_do, n)
    return StageState(stage.name, "to do" if begun in (None, stage.fingerprint) else "again", to_do, n)


_LOOK: Final[dict[str, Callable[[Findings, Executor, Reporter], StageState]]] = {
    "simulate": _simulate,
    "download": _download,
    "ingest": _ingest,
    "prepare": _prepare,
    "train": _train,
    "infer": _infer,
    "evaluate": _evaluate,
    "publish": _publish,
}
