"""The small country and its finished run, for the tests of the whole."""

from tests.pipeline.conftest import country, finished

__all__ = ["country", "finished"]
