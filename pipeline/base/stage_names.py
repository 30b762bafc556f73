"""The names of the stages, as stores, commands, flows and files spell them."""

from enum import StrEnum


class Stage(StrEnum):
    """A stage of a year, in the order of a whole run; `REFERENCE` and `CHANGE` are done on behalf of others."""

    SIMULATE = "simulate"
    DOWNLOAD = "download"
    INGEST = "ingest"
    REFERENCE = "reference"
    PREPARE = "prepare"
    TRAIN = "train"
    INFER = "infer"
    EVALUATE = "evaluate"
    PUBLISH = "publish"
    CHANGE = "change"
