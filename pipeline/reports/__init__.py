"""The report of a year."""
