"""Everything that scheduled runs need on one machine: Prefect server and workers, Dask scheduler and workers."""

from flows.serving.serve import serve
from flows.serving.services import Ports

__all__ = ["Ports", "serve"]
