"""Readers of satellite archives, one file a sensor."""
