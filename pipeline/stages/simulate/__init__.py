"""Simulate a year of granules and the crop map that the result is compared with."""
