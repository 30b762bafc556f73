"""Change as a section of a year's report: against the latest earlier year of the cluster cube."""

from typing import cast

from pipeline.base.files import read_bytes
from pipeline.base.progress import Reporter
from pipeline.config.config import Config
from pipeline.cube import clusters, layout, stores
from pipeline.runtime.executor import Executor
from pipeline.stages.change.facts import ChangeFacts
from pipeline.stages.change.files import section
from pipeline.stages.change.pair import names_in
from pipeline.stages.change.sample import find_references
from pipeline.stages.change.stage import change, change_fingerprint, change_folder


def change_section(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> str | None:
    """Write the change since the latest earlier year as HTML to stand in the year's report.

    The change is made first where it is not there. The year must have joined the cluster cube. None where no earlier
    year has labels of the same meaning.

    Raises:
        UserError: the change cannot be written.
        ShardsFailed: some shards could not be compared.
    """
    earlier = earlier_year(config)
    if earlier is None or not _same_labels(config, earlier):
        return None
    years = earlier, config.year
    facts = cast(ChangeFacts, change(config, years, executor, reporter).facts)
    return section(facts, read_bytes(change_folder(config, years) / "change.png"))


def section_fingerprint(config: Config, map_fingerprint: str) -> str | None:
    """Return the fingerprint of `change_section`; it is known before the year has joined the cluster cube.

    None where there is no earlier year.

    Args:
        config: of the year.
        map_fingerprint: fingerprint of the year's map, see `clusters.map_fingerprint`.
    """
    earlier = earlier_year(config)
    if earlier is None:
        return None
    grid = layout.read_grid(stores.open_to_read(config.clusters))
    years = earlier, config.year
    maps = clusters.maps_of(config.clusters)[earlier], map_fingerprint
    return change_fingerprint(config, years, maps, find_references(config, years, grid))


def earlier_year(config: Config) -> int | None:
    """Return the latest year in the cluster cube that is earlier than the configured one; None without any."""
    return max((year for year in clusters.maps_of(config.clusters) if year < config.year), default=None)


def _same_labels(config: Config, earlier: int) -> bool:
    cube = stores.open_to_read(config.clusters)
    return names_in(cube, earlier) == names_in(cube, config.year)
