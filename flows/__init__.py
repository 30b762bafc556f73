"""Prefect flows: thin decorators around the stages of `pipeline`; nothing is computed here."""
