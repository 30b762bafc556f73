"""Files for other software: GeoTIFFs, catalogue entries, styles, and exports."""
