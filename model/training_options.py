"""What Algorithm 1 needs to know besides the data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingOptions:
    """One run's options; the estimator documents each."""

    n_iter: int
    batch_size: int
    target_interval: int
    target_memory: str
    tol: float
    adversarial: str
    discriminator_input: str
    adversarial_interval: int
    masked_reconstruction: bool  # L_rec of observed cells alone
    w_rec: float
    w_pre: float
    w_clu: float
    w_gen: float
    learning_rate: float
    discriminator_learning_rate: float
    clip_norm: float
