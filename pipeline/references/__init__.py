"""Readers of reference crop maps, one file a map."""
