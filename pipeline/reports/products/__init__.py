"""What people open: GeoTIFFs, catalogue entries, styles, and files to order."""
