"""The eight-day calendar of the MODIS and VIIRS composites: 46 a year, starting at day 1, 9, ..., 361."""

from datetime import date, timedelta
from typing import Final

import numpy as np

COMPOSITE_DAYS: Final = 8
DAYS_OF_YEAR: Final = tuple(range(1, 362, COMPOSITE_DAYS))  # first days; the last composite runs into the next year


def composite_dates(year: int) -> np.ndarray:
    """First days of the year's 46 composites, as datetime64[D]."""
    first = date(year, 1, 1)
    return np.array([first + timedelta(days=day - 1) for day in DAYS_OF_YEAR], dtype="datetime64[D]")
