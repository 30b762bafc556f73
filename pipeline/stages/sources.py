"""Choose the source of observations of a configuration."""

from pipeline.config.config import Config
from pipeline.sources.raster.rasters import Rasters
from pipeline.sources.source import Source
from pipeline.sources.viirs.granules import ViirsGranules, policy_rules


def open_source(config: Config) -> Source:
    """Return the source: rasters where a folder of them is configured, else granules."""
    if config.raster.folder is not None:
        return Rasters(config.raster, config.year, config.ingest.calendar)
    rules = policy_rules(config.ingest.qc, config.ingest.qc_rules)
    return ViirsGranules(config.granules, config.year, config.ingest.qc, rules)
