"""The protocol of an archive of granules on the network, and its errors."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from pipeline.base.errors import UserError
from pipeline.base.retry import Transient
from pipeline.grid.sinusoidal import Tile


@dataclass(frozen=True)
class Remote:
    """A file that the archive's catalogue lists."""

    name: str  # of the file, as the product names it
    url: str
    size: int | None = None  # bytes, where the catalogue knows them exactly
    about: int | None = None  # bytes, rounded: for plans, not for checks
    algorithm: str = ""  # of the checksum, hashlib's name; empty: the catalogue has none that can be computed
    checksum: str = ""  # lower-case hexadecimal


class Unavailable(Transient):
    """A service does not answer, is overloaded, or has interrupted a transfer."""


class Refused(UserError):
    """The archive refuses all files: credentials or a licence are missing. Trying again is useless."""


class NotServed(UserError):
    """The archive refuses this one file. Trying again is useless."""


class Archive(Protocol):
    """An archive of granules; used by several threads at once."""

    def search(self, product: str, version: str, year: int, tile: Tile) -> list[Remote]:
        """Return the files of a product whose names have this year and tile.

        Raises:
            Unavailable: the catalogue does not answer.
            Refused: it refuses the credentials, or there are none.
        """
        ...

    def fetch(self, remote: Remote) -> Generator[bytes, None, None]:
        """Yield the content of a file, piece by piece; it ends early only by an error.

        Raises:
            Unavailable: the archive does not answer, or the transfer was interrupted.
            Refused: it refuses the credentials, or a licence has not been accepted.
            NotServed: it refuses this file.
        """
        ...
