"""A year that is still running: which of its composites are there as of a day, and which are not there yet."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from pipeline.calendar import CalendarName, period_end

LATENCY: Final = timedelta(days=30)  # a composite that has ended less long ago may not have reached its archive


@dataclass(frozen=True)
class AsOf:
    """What may be asked of a year as of a day; without a day the year is over, and all of it is expected."""

    day: date | None
    calendar: CalendarName

    def exists(self, composite: date) -> bool:
        """Whether the period of a composite is over."""
        return self.day is None or period_end(composite, self.calendar) <= self.day

    def awaited(self, composites: Iterable[date], newest: date | None) -> tuple[date, ...]:
        """Those that are not there yet: after the newest there is, and not over, or over for less than `LATENCY`.

        Args:
            composites: first days of a year's composites.
            newest: first day of the newest one that is there.
        """
        day = self.day
        if day is None:
            return ()
        later = (one for one in sorted(set(composites)) if newest is None or one > newest)
        return tuple(one for one in later if period_end(one, self.calendar) + LATENCY > day)


def running_year(day: date) -> int:
    """The year of the newest composites as of a day: in January, whose own are still to come, the year before."""
    return (day - LATENCY).year
