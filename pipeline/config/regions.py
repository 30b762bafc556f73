"""The regions of a configuration that have figures of their own."""

from pipeline.base.errors import UserError
from pipeline.base.fingerprint import content_digest
from pipeline.config.config import Config
from pipeline.grid.polygons import Region, check_overlap, read_outline, read_regions


def configured_regions(config: Config) -> list[Region]:
    """Read the configured regions; none where none are configured.

    Raises:
        UserError: see `read_regions` and `check_overlap`.
    """
    path = config.regions_path
    if path is None:
        return []
    regions = read_regions(path, config.evaluation.region_name)
    check_overlap(regions, path, read_outline(config.region.outline))
    return regions


def regions_digest(config: Config) -> str | None:
    """Return the SHA-256 of the configured regions' file, or None where none are configured.

    Raises:
        UserError: the file cannot be read.
    """
    path = config.regions_path
    if path is None:
        return None
    try:
        return content_digest(path)
    except OSError as error:
        raise UserError(f"cannot read the regions {path}: {error.strerror}. Set evaluation.regions.") from None
