"""Where work is done: a function over items, in this process or on a Dask cluster; knows no satellite and no store."""
