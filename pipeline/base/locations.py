"""Locations of outputs: a folder on a disk, or any URL that fsspec knows, such as s3://bucket/prefix.

Credentials and endpoints come from the environment and from fsspec's own configuration files, never from ours.
"""

import re
import shutil
import uuid
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from urllib.parse import urlsplit

import fsspec
from fsspec.utils import get_protocol
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from upath import UPath

from pipeline.base.errors import UserError

Location: TypeAlias = Path | UPath  # on a disk a plain absolute path
_PASSWORD: Final = re.compile(r"://[^@]*:[^@]*@")
_ON_DISK: Final = ("file", "local")
# with more than one connection, s3fs asks for the size of an object before it reads it
_OPTIONS: Final[dict[str, dict[str, int]]] = {"s3": {"max_concurrency": 1}}
_NO_CREDENTIALS: Final = ("NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError")


def to_location(text: str | Path | UPath) -> Location:
    """Return a folder or URL as a location; relative folders start where the command runs.

    Raises:
        ValueError: the URL's protocol is unknown, the package for it is not installed, or it holds a password.
    """
    if isinstance(text, Path):
        return text.absolute()
    url = str(text)
    refuse_secrets(url)
    if "::" in url:
        raise ValueError(f"{url} chains protocols: give the URL of the store itself, such as s3://bucket/prefix")
    if "://" not in url:
        return Path(url).absolute()
    protocol = get_protocol(url)
    try:
        kind = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise ValueError(f"{url}: {error}: install the package that reads {protocol}:// URLs") from None
    except ValueError:
        raise ValueError(
            f"{url}: the protocol {protocol} is unknown; one such as s3://bucket/prefix is meant"
        ) from None
    if protocol in _ON_DISK:
        return Path(kind._strip_protocol(url)).absolute()  # noqa: SLF001 - fsspec documents no other way
    # a cached listing would hide what other processes write
    try:
        return UPath(url, protocol=protocol, **_OPTIONS.get(protocol, {}), use_listings_cache=False)
    except ValueError as error:
        raise ValueError(f"{url}: {error}") from None


def refuse_secrets(url: str) -> None:
    """Refuse a URL with a password or a signature: it would appear in logs and in the record of the run.

    Raises:
        ValueError: it has one; the message does not repeat it.
    """
    # a secret may contain slashes, so that it does not end where a URL's host does
    if "://" in url and ("@" in urlsplit(url).netloc or "?" in url or _PASSWORD.search(url)):
        raise ValueError(
            "a URL must hold no password and no query: give credentials in the environment (AWS_ACCESS_KEY_ID, ...)"
        )


AnyLocation = Annotated[
    Path | UPath,
    PlainValidator(to_location),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "path"}),
]


def check_reachable(location: Location) -> None:
    """Check before any work that a URL can be written, with a small object; disks pass.

    Raises:
        UserError: it cannot; the message says why and what to do.
    """
    if isinstance(location, Path):
        return
    probe = location / f".probe-{uuid.uuid4().hex}"
    try:
        probe.fs.pipe_file(probe.path, b"")
        probe.fs.rm_file(probe.path)
    except Exception as error:  # every filesystem has errors of its own; all of them mean the same here
        raise UserError(f"cannot write to {location}: {_explain(error, location)}") from error


def check_readable(location: Location) -> None:
    """Check that a URL can be reached, by listing its bucket or root; disks pass.

    Raises:
        UserError: it cannot; the message says why and what to do.
    """
    if isinstance(location, Path):
        return
    try:
        location.fs.ls(location.path.partition("/")[0], detail=False)
    except Exception as error:  # every filesystem has errors of its own; all of them mean the same here
        raise UserError(f"cannot read {location}: {_explain(error, location)}") from error


def _explain(error: Exception, location: Location) -> str:
    name = type(error).__name__
    said = str(error).rstrip(".") or name
    if name == "ParamValidationError":
        return f"the URL names no bucket and prefix ({location}). Give one such as s3://bucket/prefix."
    if isinstance(error, FileNotFoundError):
        return f"there is no such bucket or place ({said}). Create it first, or choose another --out."
    if isinstance(error, PermissionError) or name in _NO_CREDENTIALS:
        return (
            f"access is refused ({said}). Give credentials that may write there, in the environment (such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY) or in fsspec's configuration."
        )
    return (
        f"it cannot be reached ({name}: {said}). Check the URL, the network and the endpoint (such as "
        "AWS_ENDPOINT_URL)."
    )


def keys_below(location: Location) -> set[str]:
    """Return the paths of the objects below a location, relative to it. One listing at a URL."""
    if isinstance(location, Path):
        return {path.relative_to(location).as_posix() for path in location.rglob("*") if path.is_file()}
    root = location.path.rstrip("/")
    return {path.removeprefix(root).lstrip("/") for path in location.fs.find(root)}


def is_empty(location: Location) -> bool:
    """Return whether nothing exists at a location or below it, except for partial files of killed writers."""
    if isinstance(location, Path):
        if not location.is_dir():
            return not location.exists()
        return all(path.name.endswith(".partial") for path in location.iterdir())
    try:
        return not location.fs.ls(location.path, detail=False)
    except FileNotFoundError:
        return True


def remove_tree(location: Location, keep: frozenset[str] = frozenset()) -> None:
    """Remove all below a location except the names `keep` directly in it; without these the folder, too."""
    if isinstance(location, Path):
        if not location.exists():
            return
        if not keep:
            shutil.rmtree(location)
            return
        for child in location.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name not in keep:
                child.unlink(missing_ok=True)
        return
    root = location.path.rstrip("/")
    if paths := [f"{root}/{key}" for key in sorted(keys_below(location) - keep)]:
        location.fs.rm(paths)


def read_many(folder: Location, keys: list[str]) -> dict[str, bytes]:
    """Return the content of small objects below a folder, in one request at a URL; missing ones are left out.

    Raises:
        OSError: one exists and cannot be read.
    """
    if isinstance(folder, Path):
        found: dict[str, bytes] = {}
        for key in keys:
            try:
                found[key] = folder.joinpath(key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
        return found
    if not keys:
        return {}
    root = folder.path.rstrip("/")
    answers = folder.fs.cat([f"{root}/{key}" for key in keys], on_error="return")
    if not isinstance(answers, dict):  # of a single path
        answers = {f"{root}/{keys[0]}": answers}
    found = {}
    for path, answer in answers.items():
        if isinstance(answer, FileNotFoundError):
            continue
        if isinstance(answer, BaseException):
            raise answer
        found[path.removeprefix(root).lstrip("/")] = answer
    return found
