"""Runs seen from outside: before they begin, while they go on, and the year that is still running."""
