"""VIIRS LAI/FPAR granules as a source of observations."""
