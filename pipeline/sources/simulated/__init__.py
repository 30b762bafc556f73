"""A simulated Italy: its landscape, crops, weather and clouds, written in the layouts of the real products."""
