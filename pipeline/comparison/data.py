"""Comparison on an array file: series with gaps and a class for each, from anywhere."""

import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.accuracy.confusion import Confusion
from pipeline.base.errors import UserError
from pipeline.base.fingerprint import content_digest, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.comparison.imputation import Hidden
from pipeline.comparison.methods import Estimator, Method, with_training
from pipeline.comparison.trial import Trial, fit
from pipeline.config.config import Config

_WHOLE: Final = 2**53  # up to here floating point has every whole number


@dataclass(frozen=True)
class Labelled:
    """Series of known classes."""

    series: np.ndarray  # (n, T, C) float32, NaN = missing; every series has an observation
    classes: np.ndarray  # (n,) whole numbers from 0
    names: tuple[str, ...]  # of the classes
    left_out: int  # series without any observation


def read_labelled(path: Path) -> Labelled:
    """Read an npz file with X, (n, T) or (n, T, C), NaN = missing, and y (n,), whole numbers or text.

    No code in the file is run.

    Raises:
        UserError: it cannot be read, or contains something else; the message names it.
    """
    arrays = _load(path)
    series, labels = _series(path, arrays["X"]), _labels(path, arrays["y"])
    if len(series) != len(labels):
        raise UserError(f"{path}: X has {len(series)} series but y {len(labels)} classes; give one class a series.")
    observed = ~np.isnan(series).all(axis=(1, 2))
    series, labels = series[observed], labels[observed]
    empty = np.flatnonzero(np.isnan(series).all(axis=(0, 1)))
    if not len(series):
        raise UserError(f"{path}: X holds no observation at all: every value is NaN.")
    if len(empty):
        raise UserError(f"{path}: channel {empty[0]} of X has no observation at all: leave it out.")
    names, classes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise UserError(
            f"{path}: y has only the class {names[0]!s}, so there is nothing to tell apart: give two or more."
        )
    return Labelled(series, classes, tuple(_printable(str(name)) for name in names), int((~observed).sum()))


def _printable(name: str) -> str:
    """Return a name that breaks neither table nor terminal: line ends and the like are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise UserError(f"{path} holds a single array: write it with numpy.savez(path, X=X, y=y).")
            for key in ("X", "y"):
                if key not in file:
                    there = ", ".join(file.files) or "nothing"
                    raise UserError(f"{path} holds {there}, but no array {key!r}: write it with savez(path, X=X, y=y).")
            arrays = {key: file[key] for key in ("X", "y")}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("X or y is no array")
        return arrays
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from None
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory ({error}): give fewer series.") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        # what numpy does not know it takes for a pickle, and says how to run it
        why = "" if "pickle" in str(error) else f" ({error})"
        raise UserError(
            f"{path} is no npz file of plain numbers and texts{why}: write it with numpy.savez(path, X=X, y=y)."
        ) from None


def _series(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "fiu":
        raise UserError(f"{path}: X has dtype {values.dtype}; numbers are meant, with NaN where one is missing.")
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise UserError(f"{path}: X has shape {values.shape}; (series, dates) or (series, dates, channels) is meant.")
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite and is refused below
        series: np.ndarray = values.astype(np.float32)
    if np.isinf(series).any():
        place = tuple(int(i) for i in np.argwhere(np.isinf(series))[0])
        where = ", ".join(map(str, place))
        raise UserError(f"{path}: X[{where}] is {values[place]}; mark missing observations by NaN.")
    return series[:, :, None] if series.ndim == 2 else series


def _labels(path: Path, values: np.ndarray) -> np.ndarray:
    if values.ndim != 1:
        raise UserError(f"{path}: y has shape {values.shape}; (series,) is meant, one class a series.")
    if values.dtype.kind == "f":
        whole = (values == np.rint(values)) & (np.abs(values) <= _WHOLE)
        if not whole.all():
            first = int(np.argmin(whole))
            raise UserError(
                f"{path}: y[{first}] is {values[first]}, which is no class: give whole numbers or texts, and leave out "
                "series whose class is not known."
            )
        return values.astype(np.int64)
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")  # two classes stay two
    if values.dtype.kind not in "iubU":
        raise UserError(f"{path}: y has dtype {values.dtype}; whole numbers or texts are meant, one for every series.")
    return values


class DataTrial(Trial):
    """The series of a file: all are trained on, and evaluated by the labels that training gave them."""

    def __init__(self, path: Path, config: Config, clusters: int | None, hide: float) -> None:
        """Read the file.

        Args:
            path: of the npz file.
            config: its [training] section makes the estimators.
            clusters: their number; None: as many as there are classes.
            hide: share of the observed cells that is hidden to measure the filling; 0: it is not measured.

        Raises:
            UserError: the file cannot be used, or has fewer series than clusters.
        """
        self._data, self._hide = read_labelled(path), hide
        n_clusters = len(self._data.names) if clusters is None else clusters
        if n_clusters > len(self._data.series):
            raise UserError(f"{path}: {len(self._data.series)} series are too few for {n_clusters} clusters.")
        self.config = with_training(config, clusters=n_clusters)
        self.about = {"data": path.name}
        self.facts = {"left_out": self._data.left_out}
        self.classes = self._data.names
        self.channels = tuple(f"channel {c}" for c in range(self._data.series.shape[2]))
        self.fingerprint = fingerprint_of("data", content_digest(path), n_clusters, hide, config.seed)

    @property
    def series(self) -> np.ndarray:
        """Return all series with an observation."""
        return self._data.series

    @cached_property
    def hidden(self) -> Hidden | None:
        """Return the same series with some observations hidden, the same for every method and seed."""
        if not self._hide:
            return None
        return Hidden.of(self.series, self._hide, np.random.default_rng([self.config.seed, len(self.series)]))

    def evaluate(self, estimator: Estimator) -> Confusion:
        """Count the labels of training against the classes."""
        n_clusters = self.config.training.clusters
        return Confusion.of(estimator.labels_, self._data.classes, n_clusters, len(self.classes))

    def fill(
        self, hidden: Hidden, estimator: Estimator, method: Method, seed: int, reporter: Reporter
    ) -> np.ndarray | None:
        """Fill with a network that is trained once more, on the series without the hidden cells.

        This is done with the first seed alone: a second training with every seed would double the time.
        """
        if seed > 0:
            return None
        if method.network:
            estimator = method.make(self.config, seed)
            fit(estimator, hidden.given, "hidden", reporter)
        return estimator.impute(hidden.given)

    def lines(self) -> list[str]:
        """Describe the file, for the terminal."""
        n, n_dates, n_channels = self.series.shape
        gaps = float(np.isnan(self.series).mean())
        channels = "1 channel" if n_channels == 1 else f"{n_channels} channels"
        said = [f"{self.about['data']}: {n:,} series, {n_dates} dates, {channels}, {100 * gaps:.1f} % missing"]
        low, high = (
            limit(self.series, axis=(0, 1)) for limit in (np.nanmin, np.nanmax)
        )  # show a fill value that was left in
        ranges = zip(self.channels, low, high, strict=True)
        said.append("observed values: " + "; ".join(f"{name} from {a:.6g} to {b:.6g}" for name, a, b in ranges))
        said += [f"{len(self.classes)} classes: {', '.join(self.classes)}"]
        if self._data.left_out:
            said.append(f"left out: {self._data.left_out} series without any observation")
        return said
