"""How pages and tables write numbers; a dash stands for what is not known."""

from collections.abc import Mapping
from typing import Final

UNKNOWN: Final = "–"
_LARGE: Final = 1e9  # from here on numbers are written with a power of ten


def percentage(share: float | None) -> str:
    """Write a share in percent with two decimals, without the sign: for columns whose name has it."""
    return UNKNOWN if share is None else f"{100 * share:.2f}"


def percent(share: float | None, digits: int = 2) -> str:
    """Write a share in percent with its sign."""
    return UNKNOWN if share is None else f"{100 * share:.{digits}f} %"


def whole(value: float | None) -> str:
    """Write a number without decimals, its thousands set apart."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def decimals(value: float | None) -> str:
    """Write a number with three decimals."""
    return UNKNOWN if value is None else f"{value:.3f}"


def number(value: float | None, digits: int) -> str:
    """Write a number with so many decimals, or in significant figures where decimals would be all 0 or too many."""
    if value is None:
        return UNKNOWN
    if value == 0 or 10**-digits <= abs(value) < _LARGE:
        return f"{value:.{digits}f}"
    return f"{value:.{digits if abs(value) < _LARGE else 5}g}"


def square_kilometres(area: float | None) -> str:
    """Write an area, with a decimal where it is small."""
    if area is None:
        return UNKNOWN
    return f"{area:,.0f}" if abs(area) >= 10 or area == 0 else f"{area:,.1f}"


def interval(estimate: Mapping[str, float | None] | None, scale: float = 1, digits: int = 0) -> str:
    """Write an estimate with its 95 % confidence interval: 12,345 (12,000–12,690).

    Args:
        estimate: "value", and the ends "low" and "high" of the interval.
        scale: factor of all three, 100 for percent.
        digits: decimals.
    """
    if estimate is None or estimate["value"] is None:
        return UNKNOWN
    value, low, high = (
        None if (found := estimate[key]) is None else f"{scale * found:,.{digits}f}" for key in ("value", "low", "high")
    )
    return f"{value}" if low is None else f"{value} ({low}–{high})"
