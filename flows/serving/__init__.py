"""Everything that scheduled runs need on one machine: Prefect server and workers, Dask scheduler and workers."""

from flows.serving.serve import serve

__all__ = ["serve"]
