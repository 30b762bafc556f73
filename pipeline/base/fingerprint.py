"""Fingerprints of the inputs of a result, so that it counts as done only with these inputs."""

import hashlib
import json
from typing import Any, NewType

from pipeline.base.locations import Location

Fingerprint = NewType("Fingerprint", str)
_BLOCK = 1 << 20


def fingerprint_of(*parts: object) -> Fingerprint:
    """Return a short digest of JSON-able values; equal values have equal digests on every machine."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return Fingerprint(hashlib.sha256(canonical.encode()).hexdigest()[:16])


def _plain(value: Any) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no fingerprint")


def content_digest(path: Location) -> str:
    """Return the SHA-256 of a file's bytes: its name and date do not count."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
