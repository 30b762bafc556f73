"""The method: networks, losses, training and the estimator. Pure torch, numpy and scikit-learn."""

from model.assignment import soft_assignment, target_distribution
from model.base import Inference
from model.joint import JointClustering
from model.losses import cluster_loss, discriminator_loss, generator_loss, prediction_loss, reconstruction_loss
from model.networks import Autoencoder, Discriminator, Generator
from model.pretraining import TrainingDiverged

__all__ = [
    "Autoencoder",
    "Discriminator",
    "Generator",
    "Inference",
    "JointClustering",
    "TrainingDiverged",
    "cluster_loss",
    "discriminator_loss",
    "generator_loss",
    "prediction_loss",
    "reconstruction_loss",
    "soft_assignment",
    "target_distribution",
]
