"""The stage that fetches granules from NASA."""

from pipeline.stages.download.stage import STAGE, download

__all__ = ("STAGE", "download")
