"""Where things lie in the checkout, and data that may lie beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"  # real data that are not in the repository: tests of them are skipped elsewhere
