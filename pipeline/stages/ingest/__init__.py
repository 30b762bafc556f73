"""Average a year of observations onto the grid, shard by shard."""
