"""Calendars of composites, a cube's time axis: eight-day (MODIS and VIIRS), ten-day (Copernicus), monthly."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, Literal

import numpy as np

CalendarName = Literal["eight-day", "ten-day", "monthly"]
COMPOSITE_DAYS: Final = 8
DAYS_OF_YEAR: Final = tuple(range(1, 362, COMPOSITE_DAYS))  # first days; the last composite runs into the next year
COMMON_YEAR: Final = 2018  # its days stand for those of leap years, too
_DEKADS_OF_MONTH: Final = 3
_MONTHS: Final = 12


def composite_dates(year: int, calendar: CalendarName = "eight-day") -> np.ndarray:
    """Return the first days of the year's 46 eight-day, 36 ten-day or 12 monthly periods, as datetime64[D].

    Ten-day periods begin on days 1, 11 and 21 of a month; the third lasts to its end.
    """
    if calendar == "eight-day":
        days = [date(year, 1, 1) + timedelta(days=day - 1) for day in DAYS_OF_YEAR]
    elif calendar == "ten-day":
        days = [date(year, month, day) for month in range(1, _MONTHS + 1) for day in (1, 11, 21)]
    else:
        days = [date(year, month, 1) for month in range(1, _MONTHS + 1)]
    return np.array(days, dtype="datetime64[D]")


def period_end(day: date, calendar: CalendarName) -> date:
    """Return the last day of the period of a day; the year's last eight-day period runs into the next year."""
    number, dates = period_of(day, calendar), composite_dates(day.year, calendar)
    if calendar == "eight-day":
        last = dates[number] + np.timedelta64(COMPOSITE_DAYS - 1)
    else:
        last = (dates[number + 1] if number + 1 < len(dates) else np.datetime64(f"{day.year + 1}-01-01")) - 1
    end: date = last.item()
    return end


def period_of(day: date, calendar: CalendarName) -> int:
    """Return the number, from 0, of the period of a day in its year."""
    if calendar == "eight-day":
        return (day.timetuple().tm_yday - 1) // COMPOSITE_DAYS
    if calendar == "ten-day":
        return _DEKADS_OF_MONTH * (day.month - 1) + min((day.day - 1) // 10, _DEKADS_OF_MONTH - 1)
    return day.month - 1


LATENCY: Final = timedelta(days=30)  # a composite that has ended less long ago may not have reached its archive


@dataclass(frozen=True)
class AsOf:
    """What can be expected of a year on a day; without a day the year is over, and all of it is expected."""

    day: date | None
    calendar: CalendarName

    def exists(self, composite: date) -> bool:
        """Return whether the period of a composite is over."""
        return self.day is None or period_end(composite, self.calendar) <= self.day

    def awaited(self, composites: Iterable[date], newest: date | None) -> tuple[date, ...]:
        """Return those still to come: after the newest, and not over, or over for less than `LATENCY`.

        Args:
            composites: first days of a year's composites.
            newest: first day of the newest one that exists.
        """
        day = self.day
        if day is None:
            return ()
        later = (one for one in sorted(set(composites)) if newest is None or one > newest)
        return tuple(one for one in later if period_end(one, self.calendar) + LATENCY > day)


def running_year(day: date) -> int:
    """Return the year of the newest composites on a day: in January, whose own are still to come, the year before."""
    return (day - LATENCY).year
