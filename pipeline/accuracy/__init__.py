"""Accuracy of a map against a reference: counts, estimates from a probability sample, and their tables."""
