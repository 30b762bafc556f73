"""Comparison on years of cubes, by the reference crop map."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.accuracy.confusion import Confusion
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import fingerprint_of
from pipeline.base.locations import Location
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.comparison.imputation import Hidden
from pipeline.comparison.methods import Estimator, Method
from pipeline.comparison.trial import Trial
from pipeline.config.config import Config, load_config
from pipeline.cube import layout, stores
from pipeline.cube.channels import read_channels
from pipeline.cube.label_names import SEASON_NAMES
from pipeline.cube.masks import count_cells
from pipeline.cube.series import mapped_series
from pipeline.grid.grid import Shard
from pipeline.references.legend import UNUSED
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import run_shards
from pipeline.stages.context import Run
from pipeline.stages.evaluate import reduced_reference
from pipeline.stages.memory import check_sample
from pipeline.stages.run import planned, run_stage
from pipeline.stages.train.sample import Sample, sample_series, series_by_shard

NEEDED: Final = ("simulate", "download", "ingest", "prepare")  # stages, as far as the configuration plans them
UNSEEN: Final = 5000  # most series, none of them trained on, that filling is measured on
_YEAR: Final = "{year}"  # in the name of a configuration file


def load_years(file: Path | None, years: Sequence[int], **overrides: Any) -> list[Config]:
    """Read one configuration a year; "{year}" in the file's name stands for the year.

    Raises:
        UserError: a file cannot be used, the years are of different regions, or several share one reference map.
    """
    configs = []
    for year in dict.fromkeys(years):
        of_year = None if file is None else Path(str(file).replace(_YEAR, str(year)))
        configs.append(load_config(of_year, year=year, **overrides))
    if len({config.region_folder for config in configs}) > 1:
        raise UserError("these years have different outputs or regions: compare the years of one region at a time.")
    maps = [config.reference.path for config in configs if config.reference.path is not None]
    if len(set(maps)) < len(maps):
        raise UserError(
            f"reference.path is {maps[0]} for several years: write a configuration a year, each with the crop map of "
            "its year, and name them by --config with {year} in the name, such as italy-{year}.toml."
        )
    return configs


class YearTrial(Trial):
    """The cube of a year: methods train on the sample of the train stage, and all cells of a certain season count."""

    def __init__(self, config: Config, hide: float, executor: Executor, reporter: Reporter) -> None:
        """Do the stages that the comparison needs and that are not done.

        Args:
            config: of the year.
            hide: share of the observed cells of unseen series that is hidden; 0: filling is not measured.
            executor: works through the shards.
            reporter: receives the progress.

        Raises:
            UserError: a stage cannot go on, there is no reference map, or the sample does not fit into memory.
            ShardsFailed: some shards could not be done.
        """
        for stage in planned(config):
            if stage in NEEDED:
                run_stage(stage, config, executor, reporter)
        self.config, self._hide, self._executor, self._reporter = config, hide, executor, reporter
        self._reference = reduced_reference(Run(config, executor, reporter))
        cube = stores.require(config.cube, Stage.PREPARE, "prepare")
        n_series = min(sum(count_cells(cube, "train_mask").values()), config.training.sample_pixels)
        check_sample(config, n_series, layout.array(cube, "time").shape[0], len(read_channels(cube)))
        simulated = bool(layout.attributes(cube)["simulated"])
        self.about, self.facts = {"year": config.year}, {"region": config.region.name, "simulated": simulated}
        self.classes = SEASON_NAMES
        self.channels = tuple(channel.name for channel in read_channels(cube))
        if config.training.target == "all":
            self.population = partial(series_by_shard, config.cube)
        of_stores = (
            stores.stage_fingerprint(cube, Stage.PREPARE),
            stores.stage_fingerprint_at(self._reference, Stage.REFERENCE),
        )
        self.fingerprint = fingerprint_of(
            "year", of_stores, config.training.sample_pixels, config.seed, config.training.target, hide
        )

    @cached_property
    def _sample(self) -> Sample:
        return self._draw(self.config.training.sample_pixels, self.config.seed)

    def _draw(self, size: int, seed: int) -> Sample:
        return sample_series(Run(self.config, self._executor, self._reporter), size, seed)

    @property
    def series(self) -> np.ndarray:
        """Return the sample of the train stage."""
        return self._sample.series

    @cached_property
    def hidden(self) -> Hidden | None:
        """Return up to UNSEEN series that are not trained on, with hidden observations; None where there are none."""
        if not self._hide:
            return None
        # a sample of this size contains UNSEEN unseen series, or all that there are
        wider = self._draw(len(self.series) + UNSEEN, self.config.seed + 1)
        seen = set(zip(self._sample.row.tolist(), self._sample.column.tolist(), strict=True))
        cells = zip(wider.row.tolist(), wider.column.tolist(), strict=True)
        unseen = np.array([cell not in seen for cell in cells])
        if not unseen.any():
            self._reporter.message(
                f"{self.config.year}: all cells are trained on, so that filling cannot be measured on unseen ones; "
                "a smaller --sample-pixels leaves some."
            )
            return None
        rng = np.random.default_rng([self.config.seed, self.config.year])
        chosen = np.sort(rng.permutation(np.flatnonzero(unseen))[:UNSEEN])
        return Hidden.of(wider.series[chosen], self._hide, rng)

    def evaluate(self, estimator: Estimator) -> Confusion:
        """Count the labels of all mapped cells of a certain season, shard by shard."""
        n_clusters = self.config.training.clusters
        work = partial(
            _count_shard,
            cube=self.config.cube,
            reference=self._reference,
            predict=estimator.predict,
            n_clusters=n_clusters,
        )
        none = np.zeros(0, np.int64)
        confusion = Confusion.of(none, none, n_clusters, len(SEASON_NAMES))
        grid = layout.read_grid(stores.open_to_read(self.config.cube))
        for part in run_shards(self._executor, work, grid.shards, "judge", self._reporter):
            confusion = confusion + part
        if confusion.n == 0:
            raise UserError(
                f"{self.config.cube} and {self._reference} have no cell in common that is mapped and of a certain "
                "season: is the reference map of another region?"
            )
        return confusion

    def fill(self, hidden: Hidden, estimator: Estimator, method: Method, seed: int, reporter: Reporter) -> np.ndarray:
        """Fill with the estimator that was evaluated: it was trained on other series."""
        return estimator.impute(hidden.given)


def _count_shard(
    shard: Shard, *, cube: Location, reference: Location, predict: Callable[[np.ndarray], np.ndarray], n_clusters: int
) -> Confusion:
    source = stores.open_to_read(cube)
    window = layout.read_grid(source).window(shard)
    season = stores.read_window(stores.open_to_read(reference), "season", window)
    series, mask = mapped_series(source, window)
    season = season[mask]
    used = season != UNUSED
    if not used.any():
        return Confusion.of(season[used], season[used], n_clusters, len(SEASON_NAMES))
    return Confusion.of(predict(series[used]), season[used], n_clusters, len(SEASON_NAMES))
