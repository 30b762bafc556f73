"""Names of labels: from the dates on which their clusters peak, never from a reference map."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pipeline.base.calendar import COMMON_YEAR, CalendarName, composite_dates

if TYPE_CHECKING:  # so that names can be used without importing torch
    from model import JointClustering


SEASON_NAMES: Final = ("winter", "summer")  # of two clusters of crops, ordered by the date of their peak
APART: Final = 48  # days between two peaks below which winter and summer are no good names for them
# strftime would return names that depend on the locale
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def names_of(estimator: "JointClustering", *, crops: bool) -> tuple[str, ...]:
    """Return the names of a trained model's labels; for `crops` see `label_names`."""
    return label_names(estimator.cluster_peaks_.tolist(), estimator.about_["calendar"], crops=crops)


def label_names(peaks: Sequence[int], calendar: CalendarName, *, crops: bool) -> tuple[str, ...]:
    """Return the names of labels, each without blanks.

    Two clusters of cropland are winter and summer. All others have the name of the first day of the composite in which
    they peak, such as peak_18_May; the second of that day is peak_18_May_2.

    Args:
        peaks: number of the composite, from 0, in which each label's cluster peaks, in the order of the labels.
        calendar: calendar of the composites.
        crops: whether only crops are mapped.
    """
    if crops and len(peaks) == len(SEASON_NAMES):
        return SEASON_NAMES
    dates = [f"peak_{day_in_words(peak, calendar).replace(' ', '_')}" for peak in peaks]
    seen: Counter[str] = Counter()
    names = []
    for date in dates:
        seen[date] += 1
        names.append(date if seen[date] == 1 else f"{date}_{seen[date]}")
    return tuple(names)


def unnamed(n_clusters: int) -> tuple[str, ...]:
    """Return names for the labels of a model that is not trained yet, where only their number matters."""
    return tuple(f"label_{k}" for k in range(n_clusters))


def day_in_words(composite: int, calendar: CalendarName) -> str:
    """Return the first day of a composite in a common year, such as 18 May."""
    day = composite_dates(COMMON_YEAR, calendar)[composite].item()
    return f"{day.day} {_MONTHS[day.month - 1]}"


def in_words(name: str) -> str:
    """Return a label's name with blanks, for readers: peak 18 May."""
    return name.replace("_", " ")


def days_apart(peaks: Sequence[int], calendar: CalendarName) -> int:
    """Return the days between the first and the last of the peaks."""
    dates = composite_dates(COMMON_YEAR, calendar)
    return int((dates[max(peaks)] - dates[min(peaks)]).astype(int))
