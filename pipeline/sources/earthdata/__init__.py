"""NASA's Earthdata as an archive of granules."""
