"""Read the configuration: one model, composed of the sections that the rooms below define."""

from pipeline.config.config import Config, load_config

__all__ = ["Config", "load_config"]
