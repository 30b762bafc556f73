"""Label every mapped cell and fill its gaps, shard by shard."""
