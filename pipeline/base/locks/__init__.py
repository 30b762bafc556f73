"""Locks: of a folder of outputs (`hold`, `check`), and of a store while it is written (`locks.store`)."""

from pipeline.base.locks.folder import NAME, check, hold

__all__ = ("NAME", "check", "hold")
