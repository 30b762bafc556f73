"""The methods: networks, losses, training and three estimators. Pure torch, numpy and scikit-learn."""

from model.assignment import soft_assignment, target_distribution
from model.crli import CRLI
from model.inference import DateInference, Inference
from model.joint import JointClustering
from model.losses import cluster_loss, discriminator_loss, generator_loss, prediction_loss, reconstruction_loss
from model.mean_dec import MeanDEC
from model.networks import Autoencoder, Discriminator, Generator
from model.pretraining import TrainingDiverged

__all__ = [
    "CRLI",
    "Autoencoder",
    "DateInference",
    "Discriminator",
    "Generator",
    "Inference",
    "JointClustering",
    "MeanDEC",
    "TrainingDiverged",
    "cluster_loss",
    "discriminator_loss",
    "generator_loss",
    "prediction_loss",
    "reconstruction_loss",
    "soft_assignment",
    "target_distribution",
]
