"""Quality: what became of the pixels of all dates, for the cube's attributes and the report."""

from collections import Counter
from typing import TypedDict

from pipeline.base.progress import Reporter
from pipeline.sources.quality import ACCEPTED, OBSERVED


class QualityShares(TypedDict):
    """How many pixels have a value, and which share of these each rule rejects."""

    pixels: int
    pixels_with_value: int
    accepted_share: float  # of the pixels with a value
    rejected_shares: dict[str, float]  # of the pixels with a value, by rule
    code_shares: dict[str, float]  # of all pixels, by the meaning of the code that stands in place of a value


def quality_shares(counts: Counter[str]) -> QualityShares:
    """Return the shares of pixels that the records of all shards count."""
    observed = counts.pop(OBSERVED, 0)
    accepted = counts.pop(ACCEPTED, 0)
    codes = {name: count for name, count in counts.items() if name.startswith("code ")}
    pixels = observed + sum(codes.values())
    return {
        "pixels": pixels,
        "pixels_with_value": observed,
        "accepted_share": _share(accepted, observed),
        "rejected_shares": {n: _share(c, observed) for n, c in sorted(counts.items()) if n not in codes},
        "code_shares": {name.removeprefix("code "): _share(count, pixels) for name, count in sorted(codes.items())},
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def report_quality(quality: QualityShares, reporter: Reporter) -> None:
    """Report the shares, and warn where no pixel counts: that is hardly intended."""
    valued, accepted = quality["pixels_with_value"] / max(1, quality["pixels"]), quality["accepted_share"]
    reporter.message(f"{100 * valued:.1f} % of the pixels hold a value, {100 * accepted:.1f} % of these are accepted")
    if valued * accepted == 0:
        reporter.message(
            "warning: no observation counts, so the cube is empty. Check the valid range and the quality rules."
        )
