"""What labels are called: by the dates on which their clusters peak, never by looking at a reference map."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pipeline.base.calendar import COMMON_YEAR, CalendarName, composite_dates

if TYPE_CHECKING:  # names are read where no network is needed
    from model import JointClustering


SEASON_NAMES: Final = ("winter", "summer")  # of two clusters of crops, ordered by the date of their peak
APART: Final = 48  # days between two peaks below which winter and summer are no good names for them
# of strftime they would depend on the locale
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def names_of(estimator: "JointClustering", *, crops: bool) -> tuple[str, ...]:
    """The names of a trained model's labels; `crops` as of `label_names`."""
    return label_names(estimator.cluster_peaks_.tolist(), estimator.about_["calendar"], crops=crops)


def label_names(peaks: Sequence[int], calendar: CalendarName, *, crops: bool) -> tuple[str, ...]:
    """Names of labels, each without blanks.

    Two clusters of cropland are winter and summer. All others are called after the first day of the composite in which
    they peak, such as peak_18_May, and peak_18_May_2 for the second of that day.

    Args:
        peaks: number of the composite, from 0, in which each label's cluster peaks, in the order of the labels.
        calendar: of the composites.
        crops: whether crops alone are mapped.
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
    """Names for labels of a model that is not trained yet, where only the number of them matters."""
    return tuple(f"label_{k}" for k in range(n_clusters))


def day_in_words(composite: int, calendar: CalendarName) -> str:
    """First day of a composite of a common year, such as 18 May."""
    day = composite_dates(COMMON_YEAR, calendar)[composite].item()
    return f"{day.day} {_MONTHS[day.month - 1]}"


def in_words(name: str) -> str:
    """A label's name for people: peak 18 May."""
    return name.replace("_", " ")


def days_apart(peaks: Sequence[int], calendar: CalendarName) -> int:
    """Days between the first and the last of the peaks."""
    dates = composite_dates(COMMON_YEAR, calendar)
    return int((dates[max(peaks)] - dates[min(peaks)]).astype(int))
