"""The stages of a year, one package or module each, and their order."""
