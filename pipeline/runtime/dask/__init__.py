"""The executor that works on a Dask cluster, and the connection to one."""

from pipeline.runtime.dask.cluster import open_executor
from pipeline.runtime.dask.executor import OnDask

__all__ = ("OnDask", "open_executor")
