"""Pictures of the report, each as PNG bytes, and those of a training for users of `model` on arrays of their own.

`embedding`, `imputation` and `training` take the `history_` of an estimator; each says how to show it in a notebook.
"""

from pipeline.figures.cube import filled_series, gaps, profiles
from pipeline.figures.curves import draw_imputation, imputation
from pipeline.figures.latent import draw_embedding, embedding
from pipeline.figures.losses import draw_training, training
from pipeline.figures.maps import seasons_map
from pipeline.figures.style import colours

__all__ = [
    "colours",
    "draw_embedding",
    "draw_imputation",
    "draw_training",
    "embedding",
    "filled_series",
    "gaps",
    "imputation",
    "profiles",
    "seasons_map",
    "training",
]
