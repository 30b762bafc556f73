"""Rasters of any origin, GeoTIFF or NetCDF, as a source of observations."""
