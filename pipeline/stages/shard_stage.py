"""The steps that all stages share which write the arrays of a store shard by shard.

A stage's own file says what it reads, which arrays it writes, what its fingerprints depend on, and how one shard is
done. The steps are here, in their order: check that a task fits into memory, begin the store, find the shards that are
missing or made from something else, check that they fit on the disk, do them, finish the store.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from typing import Final, TypeVar

from pipeline.base.fingerprint import Fingerprint
from pipeline.base.locations import Location
from pipeline.base.stage_names import Stage
from pipeline.cube import stores
from pipeline.cube.disk_space import check_room
from pipeline.cube.layout import Axis, Layer
from pipeline.cube.shard_writer import ShardWriter
from pipeline.grid.grid import Grid, Shard
from pipeline.runtime.stage import run_shards
from pipeline.stages.context import Run
from pipeline.stages.memory import Work, check_tasks

NO_METHOD: Final = Fingerprint("")
Item = TypeVar("Item")  # a shard, or several that one task works on
Result = TypeVar("Result")


@dataclass(frozen=True)
class ShardStage:
    """The arrays that one stage writes into a store, and what they are made from; `plan` uses it to predict a run."""

    name: Stage
    path: Location  # of the store
    fingerprint: Fingerprint  # of all that the arrays depend on
    grid: Grid
    layers: tuple[Layer, ...]
    made_from: Mapping[Shard, Fingerprint]  # of all that single shards depend on
    _: KW_ONLY
    method: Fingerprint = NO_METHOD  # of all but the observations: a store of the same method is kept
    axes: tuple[Axis, ...] = ()
    about: Mapping[str, object] = field(default_factory=dict)  # attributes of the store
    adds_layers: bool = False  # whether an earlier stage makes the store
    alone: bool = False  # whether the store must have no other arrays
    cells: Mapping[Shard, int] | None = None  # number that gets values; None: room on the disk is not checked
    work: Work | None = None  # the largest task
    memory: Callable[[Work], int] | None = None  # bytes that a task takes; None: memory is not checked

    @property
    def writer(self) -> ShardWriter:
        """The writer of single shards, for the tasks."""
        return ShardWriter(self.path, self.name, self.fingerprint)

    @property
    def layer_names(self) -> list[str]:
        """The names of the arrays."""
        return [layer.name for layer in self.layers]

    # ---- the store as it is

    def is_finished(self) -> bool:
        """Return whether the store is complete."""
        group = stores.find(self.path)
        if group is None or not stores.is_finished(group, self.name, self.fingerprint):
            return False
        return not self.alone or stores.layer_names(group) == set(self.layer_names)

    def to_do(self) -> tuple[Shard, ...]:
        """Return the shards that are missing or were made from something else; nothing is written."""
        if not self.is_kept():
            return self.grid.shards
        return tuple(stores.shards_to_do(self.path, self.name, self.made_from, self.layer_names, self.grid))

    def is_kept(self) -> bool:
        """Return whether `begin` would keep the shards that are there."""
        group = stores.find(self.path)
        if group is None:
            return False
        if self.adds_layers:
            return stores.holds(group, self.name, self.layers)
        same = stores.stage_fingerprint(group, self.name) == self.fingerprint
        return same or (self.method != NO_METHOD and stores.stage_method(group, self.name) == self.method)

    # ---- the steps, in their order

    def carry_out(
        self,
        run: Run,
        task: Callable[[Shard], Result],
        *,
        around: AbstractContextManager[None] | None = None,
        gpu: bool = False,
        **facts: object,
    ) -> list[Result]:
        """Do the shards that are missing, and finish the store.

        Args:
            run: that the stage belongs to.
            task: writes one shard with `writer`.
            around: a context in which the shards are done.
            gpu: whether the work belongs on a GPU where there is one; progress is then measured by cells.
            facts: attributes of the finished store.

        Returns:
            What `task` returned for each shard, in any order.

        Raises:
            UserError: tasks do not fit into memory, the shards not on the disk, or the store cannot be written.
            ShardsFailed: some shards could not be done.
        """
        self.check_memory(run)
        self.begin()
        shards = self.to_do()
        self.check_room(shards)
        pixels = sum(self.cells[shard] for shard in shards) if gpu and self.cells is not None else None
        with around or nullcontext():
            results = list(self.do_shards(run, task, shards, pixels=pixels, gpu=gpu))
        self.finish(**facts)
        return results

    def check_memory(self, run: Run) -> None:
        """Refuse tasks that do not fit into memory.

        Raises:
            UserError: they do not; the message says what to change.
        """
        if self.memory is not None and self.work is not None:
            check_tasks(self.name, self.memory, self.work, self.grid.chunk, run.executor.describe())

    def begin(self) -> None:
        """Create the arrays that are not there; what an earlier run has written of the same is kept.

        Raises:
            UserError: the store cannot be written, or something else is in its place.
        """
        if self.adds_layers:
            stores.begin_layers(self.path, self.name, self.fingerprint, self.grid, self.layers)
            return
        about = dict(self.about)
        stores.begin(
            self.path, self.name, self.fingerprint, self.grid, self.layers,
            axes=self.axes, about=about, method=self.method or None,
        )  # fmt: skip
        if self.alone:
            stores.match_layers(self.path, self.name, self.grid, self.layers)

    def check_room(self, shards: Sequence[Shard]) -> None:
        """Refuse shards that do not fit on the disk.

        Raises:
            UserError: there is too little room.
        """
        if self.cells is not None and self.work is not None:
            check_room(self.path, self.layers, self.work.n_dates, self.grid, self.cells, shards)

    def do_shards(
        self,
        run: Run,
        task: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        pixels: int | None = None,
        gpu: bool = False,
    ) -> Iterator[Result]:
        """Yield the result of every task as soon as it is ready, see `run_shards`."""
        return run_shards(run.executor, task, items, self.name, run.reporter, pixels=pixels, gpu=gpu)

    def finish(self, fingerprint: Fingerprint | None = None, /, **facts: object) -> None:
        """Record that the stage is complete.

        Args:
            fingerprint: if it differs from that with which the stage was begun.
            facts: attributes of the store.
        """
        stores.finish(stores.open_to_write(self.path), self.name, fingerprint or self.fingerprint, **facts)
