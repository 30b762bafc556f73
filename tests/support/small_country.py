"""A country of 40 x 40 km in tile h18v04: granules and a crop map in their real layouts, made in seconds."""

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import h5py
import numpy as np
import rasterio
from odc.geo import CRS
from rasterio.transform import from_origin
from shapely.geometry import box, mapping

from pipeline.base.calendar import DAYS_OF_YEAR
from pipeline.config.config import Config, load_config
from pipeline.grid.sinusoidal import SINUSOIDAL, TILE_PIXELS, Tile
from pipeline.sources.simulated.granules import granule_name, write_granule

TILE = Tile(18, 4)
OUTLINE = box(9.0, 45.0, 9.5, 45.4)  # longitude and latitude
BLOCK = 5000.0  # m: winter and summer crops alternate in squares of EPSG:3035
WHEAT, MAIZE, WOOD = 212, 216, 300


def crop_code(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """EUCROPMAP code at places of EPSG:3035: a chessboard of wheat and maize, with a wood in every sixteenth square."""
    i, j = np.floor(x / BLOCK).astype(int), np.floor(y / BLOCK).astype(int)
    code = np.where((i + j) % 2 == 0, WHEAT, MAIZE)
    return np.where((i % 4 == 0) & (j % 4 == 0), WOOD, code)


def season_curve(code: np.ndarray, day: int) -> np.ndarray:
    """FPAR in percent: wheat peaks in April, maize in July, a wood is green all summer."""
    peak = np.where(code == WHEAT, 115, 205)
    width = np.where(code == WOOD, 90, 38)
    return 15 + 70 * np.exp(-(((day - peak) / width) ** 2))


def pixel_places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat positions in the tile of the pixels of a box around the country, and their x and y in EPSG:3035."""
    rows, columns = np.mgrid[1090:1220, 1500:1630]
    x, y = TILE.geobox().transform @ (columns.ravel() + 0.5, rows.ravel() + 0.5)
    x, y = SINUSOIDAL.transformer_to_crs(CRS("EPSG:3035"))(x, y)
    return (rows * TILE_PIXELS + columns).ravel(), x, y


def make_country(folder: Path, year: int = 2018, seed: int = 0) -> None:
    """Write outline, granules and crop map."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outline.geojson").write_text(json.dumps({"type": "Feature", "geometry": mapping(OUTLINE)}))
    granules = folder / "granules"
    granules.mkdir()
    rng = np.random.default_rng(seed)
    where, x, y = pixel_places()
    code = crop_code(x, y)
    amplitude = rng.uniform(0.8, 1.1, len(where))
    for day in DAYS_OF_YEAR:
        fpar = np.clip(amplitude * season_curve(code, day) + rng.normal(0, 2, len(where)), 0, 100)
        gap_share = 0.5 if day < 75 or day > 310 else 0.1
        cloudy = np.repeat(np.repeat(rng.random((13, 13)) < gap_share, 10, 0), 10, 1).ravel()
        layers = {name: np.full(TILE_PIXELS**2, 255, np.uint8) for name in ("Fpar", "FparLai_QC", "FparExtra_QC")}
        layers["Fpar"][where] = np.where(cloudy, 0.4 * fpar, fpar)
        layers["FparLai_QC"][where] = np.where(code == WOOD, 6 << 4, 1 << 4) | np.where(cloudy, 2, 0)
        layers["FparExtra_QC"][where] = np.where(cloudy, 3, 0)
        first = date(year, 1, 1) + timedelta(days=day - 1)
        shaped = {name: values.reshape(TILE_PIXELS, TILE_PIXELS) for name, values in layers.items()}
        write_granule(granules / granule_name(TILE, first), TILE, first, shaped)
    write_reference(folder / "reference.tif")


def write_reference(path: Path) -> None:
    """The crop map at 100 m over more than the country."""
    left, top, size = 4_220_000.0, 2_500_000.0, 900
    x = left + 100 * (np.arange(size) + 0.5)
    y = top - 100 * (np.arange(size) + 0.5)
    codes = crop_code(*np.meshgrid(x, y)).astype(np.int16)
    profile = {"driver": "GTiff", "dtype": "int16", "count": 1, "nodata": 0, "compress": "lzw", "tiled": True}
    with rasterio.open(
        path, "w", width=size, height=size, crs="EPSG:3035", transform=from_origin(left, top, 100, 100), **profile
    ) as file:
        file.write(codes, 1)


def flow_country(folder: Path) -> Path:
    """The small country with a configuration file beside it, `small.toml`, as flows are given one."""
    make_country(folder)
    (folder / "small.toml").write_text(
        f'year = 2018\n[region]\nname = "small"\noutline = "{folder}/outline.geojson"\n'
        f'[ingest]\ngranules = "{folder}/granules"\nshard = 16\nchunk = 8\n'
        f'[reference]\npath = "{folder}/reference.tif"\n'
        "[training]\niterations = 20\nwarm_up = 30\npretrain_epochs = 20\nbatch_size = 200\n"
    )
    return folder


def small_config(country: Path, out: Path, **overrides: object) -> Config:
    """A configuration of the small country that trains in seconds."""
    settings: dict[str, object] = {
        "year": 2018,
        "out": out,
        "region__name": "small",
        "region__outline": country / "outline.geojson",
        "ingest__granules": country / "granules",
        "reference__path": country / "reference.tif",
        "training__iterations": 30,
        "training__warm_up": 60,
        "training__batch_size": 200,
        "training__target_interval": 10,
        "training__w_gen": 0.0,
    }
    return load_config(**(settings | overrides))  # type: ignore[arg-type]


def write_patch(
    folder: Path, tile: Tile, day: date, window: tuple[slice, slice], produced: str = "", **layers: np.ndarray
) -> Path:
    """A granule with the given layers in a window of its tile, and fill elsewhere.

    Args:
        folder: that it is written into.
        tile: where it lies.
        day: first of its composite.
        window: rows and columns that hold something.
        produced: production time in the file's name, 13 digits; without one that of simulated granules.
        layers: numbers of the window, by layer name.
    """
    whole = {name: np.full((TILE_PIXELS, TILE_PIXELS), 255, np.uint8) for name in layers}
    for name, numbers in layers.items():
        whole[name][window] = numbers
    name = granule_name(tile, day)
    if produced:
        name = f"{name.removesuffix('.h5').rpartition('.')[0]}.{produced}.h5"
    write_granule(folder / name, tile, day, whole)
    return folder / name


def spoil_row(path: Path, row: int, layer: str = "Fpar") -> None:
    """Make the pixels of one row of a granule undecodable, which nothing but reading them shows."""
    with h5py.File(path) as file:
        (grid,) = file["HDFEOS/GRIDS"].values()
        stored = grid["Data Fields"][layer].id.get_chunk_info_by_coord((row, 0))
    content = bytearray(path.read_bytes())
    content[stored.byte_offset : stored.byte_offset + stored.size] = b"\xff" * stored.size
    path.write_bytes(content)


def objects(store: Path) -> dict[str, str]:
    """Digest of every chunk object of a store, by its path there."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != "zarr.json" and path.relative_to(store).parts[0] != "records"
    }


def stamps(store: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of last change of every file of a store: the same only where nothing wrote it."""
    found = {}
    for path in sorted(store.rglob("*")):
        if path.is_file():
            status = path.stat()
            found[str(path.relative_to(store))] = status.st_ino, status.st_mtime_ns
    return found
