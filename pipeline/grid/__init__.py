"""Geometry without stores: grids and their shards, polygons in longitude and latitude, sinusoidal tiles, samples."""
