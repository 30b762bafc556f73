"""Pictures of the report, each as PNG bytes, and of a training, for users of `model` on arrays of their own.

`embedding`, `imputation` and `training` take the `history_` of an estimator; their docstrings show the use in a
notebook.
"""

from pipeline.reports.figures.accuracy import accuracy_by, area_bars
from pipeline.reports.figures.change import change_maps
from pipeline.reports.figures.cube import filled_series, gaps, gaps_by_latitude, profiles
from pipeline.reports.figures.curves import draw_imputation, imputation
from pipeline.reports.figures.latent import draw_embedding, embedding
from pipeline.reports.figures.losses import draw_training, training
from pipeline.reports.figures.maps import agreement_map, gap_map, seasons_map
from pipeline.reports.figures.style import colours

__all__ = [
    "accuracy_by",
    "agreement_map",
    "area_bars",
    "change_maps",
    "colours",
    "draw_embedding",
    "draw_imputation",
    "draw_training",
    "embedding",
    "filled_series",
    "gap_map",
    "gaps",
    "gaps_by_latitude",
    "imputation",
    "profiles",
    "seasons_map",
    "training",
]
