"""The methods: networks, losses, training and three estimators; they need torch, numpy and scikit-learn alone."""

from model.estimators.crli import CRLI
from model.estimators.inference import DateInference, Inference
from model.estimators.joint import JointClustering
from model.estimators.mean_dec import MeanDEC
from model.losses import (
    cluster_loss,
    discriminator_loss,
    generator_loss,
    prediction_loss,
    reconstruction_loss,
    soft_assignment,
    target_distribution,
)
from model.networks.networks import Autoencoder, Discriminator, Generator
from model.training.history import EventRecord, History, PretrainingRecord, SnapshotHistory, UpdateRecord
from model.training.progress import TrainingReport
from model.training.safeguards import TrainingDiverged

__all__ = [
    "CRLI",
    "Autoencoder",
    "DateInference",
    "Discriminator",
    "EventRecord",
    "Generator",
    "History",
    "Inference",
    "JointClustering",
    "MeanDEC",
    "PretrainingRecord",
    "SnapshotHistory",
    "TrainingDiverged",
    "TrainingReport",
    "UpdateRecord",
    "cluster_loss",
    "discriminator_loss",
    "generator_loss",
    "prediction_loss",
    "reconstruction_loss",
    "soft_assignment",
    "target_distribution",
]
