"""The section `cluster` of the configuration."""

import os
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator, model_validator

from pipeline.base.locations import refuse_secrets
from pipeline.base.settings import AbsolutePath, Count, Section

TLS_KEYS: Final = ("tls_ca_file", "tls_cert", "tls_key")


class Cluster(Section):
    """Where the work is done, and how much may fail there."""

    scheduler: str | None = Field(None, description="none: in process; local: a cluster here; tcp://...: that one")
    workers: Count = Field(default_factory=lambda: os.cpu_count() or 1, description="of the local cluster")
    cpu_beside_gpu: bool = Field(
        False,
        description="whether workers without a GPU label shards, too, where others have one; last digits may differ",
    )
    max_failures: int = Field(10, ge=0, description="shards that may fail before a stage is ended early")
    retries: int = Field(2, ge=0, description="of a shard whose input or output failed for the moment")
    patience: float = Field(
        60.0, gt=0, description="seconds to wait for a scheduler that is gone, and for workers where there are none"
    )
    tls_ca_file: AbsolutePath | None = Field(None, description="PEM of the authority that signs; with it Dask uses TLS")
    tls_cert: AbsolutePath | None = Field(None, description="PEM of the certificate of scheduler, workers and clients")
    tls_key: AbsolutePath | None = Field(None, description="PEM of its private key, which only its owner may read")

    @property
    def tls(self) -> tuple[Path, Path, Path] | None:
        """Files of authority, certificate and key, or None where Dask works without TLS."""
        if self.tls_ca_file is None or self.tls_cert is None or self.tls_key is None:
            return None
        return self.tls_ca_file, self.tls_cert, self.tls_key

    @field_validator("scheduler")
    @classmethod
    def _no_secret(cls, scheduler: str | None) -> str | None:
        refuse_secrets(scheduler or "")
        return scheduler

    @model_validator(mode="after")
    def _all_or_none(self) -> "Cluster":
        given = [name for name in TLS_KEYS if getattr(self, name) is not None]
        if given and self.tls is None:
            raise ValueError(f"{', '.join(TLS_KEYS)} go together: only {', '.join(given)} given")
        return self
