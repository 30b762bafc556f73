"""Series whose state was kept while the network trained, with what the stores say of their cells."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import zarr

from model import JointClustering
from pipeline.base.errors import UserError
from pipeline.base.files import read_bytes
from pipeline.base.locations import Location
from pipeline.cube import layout
from pipeline.cube.channels import read_channels, to_physical
from pipeline.cube.trained_model import SAMPLE
from pipeline.references.legend import UNUSED


@dataclass(frozen=True)
class Snapshots:
    """The series; `snapshots` numbers them as the arrays here do, not as the training sample did."""

    snapshots: dict[str, np.ndarray]
    labels: np.ndarray  # (W,) of the map
    seasons: np.ndarray | None  # (W,) of the reference map, UNUSED where it has none; None without a reference map
    series: np.ndarray  # (V, T, C) physical units, NaN = missing: those whose curves were kept


@dataclass(frozen=True)
class NoSnapshots:
    """No such series can be shown."""

    reason: str  # the end of a sentence that says why


def read_snapshots(
    estimator: JointClustering, folder: Location, cube: zarr.Group, result: zarr.Group, reference: zarr.Group | None
) -> Snapshots | NoSnapshots:
    """Read the snapshots of a model and look up the cells of their series.

    Args:
        estimator: the model of the year.
        folder: that it was read from.
        cube: that it was trained on.
        result: the map.
        reference: the reduced reference map, if there is one.

    Raises:
        UserError: a store is damaged.
    """
    snapshots = estimator.history_.get("snapshots")
    cells = _read_sample(folder / SAMPLE)
    if not snapshots:
        return NoSnapshots("the model was trained without keeping snapshots")
    if cells is None:
        return NoSnapshots(f"the model came without {SAMPLE}, which says where the watched series lie")
    other = NoSnapshots("the snapshots of the model are of series of another cube than this one")
    rows = snapshots["rows"]
    shape = layout.array(cube, "mask").shape
    if rows.max() >= len(cells) or (cells < 0).any() or (cells >= shape).any():
        return other
    if snapshots["curves"].shape[2:] != (layout.array(cube, "time").shape[0], len(read_channels(cube))):
        return other
    row, column = cells[rows].T
    labels = read_cells(result, "label", row, column)
    if (labels == layout.MISSING).any():
        return other
    seasons = None if reference is None else read_cells(reference, "season", row, column)
    if seasons is not None and (seasons == UNUSED).all():
        seasons = None
    n_curves = len(snapshots["curve_rows"])  # the first of the rows
    renumbered = {name: np.asarray(array) for name, array in snapshots.items()}
    renumbered |= {"rows": np.arange(len(rows)), "curve_rows": np.arange(n_curves)}
    return Snapshots(renumbered, labels, seasons, read_series(cube, row[:n_curves], column[:n_curves]))


def read_cells(group: zarr.Group, name: str, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Read the numbers of single cells (n,), with leading coordinates (..., n).

    Only the chunks with these cells are read.

    Args:
        group: the store.
        name: of the array.
        row: (n,) of the cells.
        column: (n,) of the cells.

    Raises:
        UserError: what is stored there is damaged.
    """
    source = layout.array(group, name)
    lead = np.indices(source.shape[:-2])[..., None]  # one array for each leading coordinate
    try:
        found: np.ndarray = np.asarray(source.vindex[(*lead, row, column)])
    except (ValueError, RuntimeError) as error:  # a checksum that is wrong, or bytes that cannot be unpacked
        raise UserError(f"{group.store_path} is damaged in {name} ({error}): remove it and run again.") from None
    return found


def read_series(cube: zarr.Group, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Read the observations (n, T, C) of single cells in physical units, NaN = missing."""
    channels = read_channels(cube)
    stored = [read_cells(cube, channel.name, row, column).T for channel in channels]
    return np.stack([to_physical(numbers, channel) for numbers, channel in zip(stored, channels, strict=True)], axis=-1)


def _read_sample(path: Location) -> np.ndarray | None:
    """Read row and column (n, 2) of the sampled cells; None where the model came without them.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
            columns: list[np.ndarray] = [file[name].astype(np.int64) for name in ("row", "column")]
        cells = np.stack(columns, axis=1)
        if cells.ndim != 2:
            raise ValueError(f"row has shape {columns[0].shape}, one number a series is meant")
        return cells
    except FileNotFoundError:
        return None
    except (KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # TypeError: one array, no archive
        raise UserError(f"{path} is damaged ({error}): remove {path.parent} and run `sitscube train` again.") from None
