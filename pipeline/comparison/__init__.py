"""Comparison of methods by known classes, over several seeds."""
