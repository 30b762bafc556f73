"""The newest map of a year that is still running, made with the model of a finished year."""

from datetime import date

from pipeline.base.calendar import running_year
from pipeline.base.errors import UserError
from pipeline.config.config import Config
from pipeline.config.sections import FIRST_YEAR
from pipeline.cube.trained_model import read_record


def running_year_config(
    config: Config, as_of: date, *, year: int | None = None, model_year: int | None = None
) -> Config:
    """Return the configuration that maps the running year with the model of a finished one.

    Args:
        config: all other settings.
        as_of: day up to which composites are expected.
        year: of the observations; None: the running one.
        model_year: of the model; None: the configured one, else the latest earlier year that has a model.

    Raises:
        UserError: no earlier year has a trained model.
    """
    year = running_year(as_of) if year is None else year
    if model_year is None:
        model_year = config.inference.model_year or _latest_model(config, year)
    if model_year is None:
        raise UserError(
            f"no year before {year} has a trained model in {config.region_folder}: map one with annual_map or "
            f"`sitscube run --year {year - 1}`, or name a later one with model_year."
        )
    return config.model_copy(
        update={
            "year": year,
            "ingest": config.ingest.model_copy(update={"as_of": as_of}),
            "inference": config.inference.model_copy(update={"model_year": model_year}),
        }
    )


def has_own_model(config: Config) -> bool:
    """Say whether the configured year has a trained model of its own, which another year's must not replace."""
    return read_record(config.year_folder / "model") is not None


def _latest_model(config: Config, year: int) -> int | None:
    earlier = range(year - 1, FIRST_YEAR - 1, -1)
    return next((one for one in earlier if read_record(config.region_folder / str(one) / "model") is not None), None)
