"""Accuracy of a map: arrays of labels and of a reference in, counts and estimates out; no files."""
