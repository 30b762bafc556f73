"""The stage that makes a simulated Italy: a year of VNP15A2H granules and the crop map to hold the result against."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import h5py
import numpy as np
import rasterio
from rasterio.errors import RasterioIOError
from shapely.geometry import box

from pipeline.base.calendar import composite_dates
from pipeline.base.errors import UserError
from pipeline.base.files import sweep_partials
from pipeline.base.fingerprint import content_digest, fingerprint
from pipeline.base.progress import Reporter, Silent
from pipeline.config.config import Config
from pipeline.cube.layout import SIMULATED
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import TILE_PIXELS, Tile
from pipeline.runtime.executor import Executor, InProcess
from pipeline.runtime.stage import StageResult
from pipeline.sources.simulated.composition import Composition, compose
from pipeline.sources.simulated.cropmap import Strip, map_geobox, map_strip, strips, write_map
from pipeline.sources.simulated.granules import granule_name, write_granule
from pipeline.sources.simulated.observation import empty_layers, observe

VERSION: Final = 2  # of the simulation: to be raised whenever the same configuration would give other bytes
TILES: Final = (Tile(18, 4), Tile(18, 5), Tile(19, 4), Tile(19, 5))
FINGERPRINT: Final = "SimulationFingerprint"
_ITALY: Final = box(6.0, 35.0, 19.0, 47.6)  # degrees: where the landscape is defined and the four tiles reach
_BAND_ROWS: Final = 150
_STEPS_AT_ONCE: Final = 5  # composites of a tile in one task: its composition is loaded once for all of them

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Country:
    """What the tasks need to know; small, for it travels with each of them."""

    seed: int
    year: int
    outline: Path
    resolution: int
    mark: str  # fingerprint

    @property
    def texts(self) -> dict[str, str]:
        """What every file says of itself."""
        return {SIMULATED: f"yes: sitscube simulation {VERSION}, seed {self.seed}", FINGERPRINT: self.mark}


@dataclass(frozen=True)
class Band:
    """Rows `row` and on of a tile."""

    tile: Tile
    row: int

    def __str__(self) -> str:
        return f"{self.tile}-{self.row:04d}"


@dataclass(frozen=True)
class Composites:
    """Some composites of a tile, by their number in the year."""

    tile: Tile
    steps: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.tile}-{self.steps[0]:02d}"


def simulate(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Write a year of granules into `config.granules` and the crop map to `config.reference_path`.

    Files of the same year, seed, outline and map resolution are kept; files of another simulation are replaced, all
    of them before the first new one is written. Where `reference.path` names a map, that map is left alone.

    Args:
        config: year, region, simulation and folders.
        executor: where the work is done; in this process if None.
        reporter: told of progress.

    Returns:
        Folder of the granules, and the map; not fresh if all of them were there.

    Raises:
        UserError: the configuration names granules of its own, the outline leaves Italy, or files cannot be written.
    """
    executor, reporter = executor or InProcess(), reporter or Silent()
    if not config.simulated:
        raise UserError(
            f"ingest.granules is {config.granules}: simulated granules are never put among others. "
            "Leave ingest.granules out to simulate."
        )
    country = _country(config)
    granules, crop_map = _granules(config), _crop_map(config)
    outputs = tuple(granules.values()) + ((crop_map,) if crop_map else ())
    scratch = config.granules.resolve() / ".scratch"  # absolute: workers may run in another folder
    try:
        _prepare(outputs, scratch, country.mark)
        missing = [path for path in outputs if not path.exists()]
        if missing:
            scratch.mkdir()
            wanted = [key for key, path in granules.items() if path in missing]
            _write_granules(wanted, country, scratch, executor, reporter)
            if crop_map in missing:
                _write_crop_map(crop_map, country, scratch, executor, reporter)
    except OSError as error:
        if error.errno is None and not isinstance(error, RasterioIOError):
            raise  # no file's: a lost connection to the cluster is an OSError too
        raise UserError(
            f"the simulation cannot write into {config.granules.parent.parent}: {error}. "
            "Make room or give another folder with --out; what is written stays, and running again does the rest."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return StageResult(
        "simulate",
        fresh=bool(missing),
        outputs=(config.granules, *((crop_map,) if crop_map else ())),
        facts={
            "simulated": country.texts[SIMULATED],
            "fingerprint": country.mark,
            "granules": len(granules),
            "written": len(missing),
            "bytes": sum(path.stat().st_size for path in outputs),
        },
    )


def files_to_write(config: Config) -> tuple[list[Path], int]:
    """Which files of the simulation are missing, damaged or of another one, and how many there are in all."""
    crop_map, mark = _crop_map(config), _country(config).mark
    outputs = [*_granules(config).values(), *([crop_map] if crop_map else [])]
    return [path for path in outputs if not path.exists() or _mark_of(path) != mark], len(outputs)


def _granules(config: Config) -> dict[tuple[Tile, int], Path]:
    """The files of every tile and composite of the year."""
    return {
        (tile, step): config.granules / granule_name(tile, day)
        for tile in TILES
        for step, day in enumerate(composite_dates(config.year).tolist())
    }


def _crop_map(config: Config) -> Path | None:
    """Where the crop map goes; None where another one is given."""
    return config.reference_path if config.reference.path is None else None


def _country(config: Config) -> Country:
    outline = read_outline(config.region.outline)
    if not _ITALY.contains(outline):
        west, south, east, north = outline.bounds
        raise UserError(
            f"only Italy is simulated, but region.outline {config.region.outline} reaches over longitudes "
            f"{west:.1f} to {east:.1f} and latitudes {south:.1f} to {north:.1f}: give an outline within "
            "6..19 E, 35..47.6 N, or granules with --granules."
        )
    mark = fingerprint("simulation", VERSION, config.year, config.simulation, content_digest(config.region.outline))
    return Country(
        seed=config.simulation.seed,
        year=config.year,
        outline=config.region.outline.resolve(),
        resolution=config.simulation.reference_resolution,
        mark=mark,
    )


def _prepare(outputs: tuple[Path, ...], scratch: Path, mark: str) -> None:
    """Make the folders; sweep what a killed run left, and files of other simulations so that none are mixed."""
    for folder in {path.parent for path in outputs}:
        folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    for path in outputs:
        sweep_partials(path.parent, path.name)
        if path.exists() and _mark_of(path) != mark:
            path.unlink()


def _mark_of(path: Path) -> str | None:
    """The fingerprint that a file carries, None if it is damaged or carries none."""
    try:
        if path.suffix == ".h5":
            with h5py.File(path, "r") as granule:
                value = granule.attrs.get(FINGERPRINT)
                return None if value is None else bytes(value).decode()
        with rasterio.open(path) as crop_map:
            return crop_map.tags().get(FINGERPRINT)
    except OSError:
        return None


def _write_granules(
    missing: list[tuple[Tile, int]], country: Country, scratch: Path, executor: Executor, reporter: Reporter
) -> None:
    steps = defaultdict(list)
    for tile, step in missing:
        steps[tile].append(step)
    bands = [Band(tile, row) for tile in steps for row in range(0, TILE_PIXELS, _BAND_ROWS)]
    with reporter.track("landscape", len(bands)) as task:
        for _ in _results(executor, partial(compose_band, country, scratch), bands, "compose"):
            task.advance()
    work = [
        Composites(tile, tuple(of_tile[n : n + _STEPS_AT_ONCE]))
        for tile, of_tile in steps.items()
        for n in range(0, len(of_tile), _STEPS_AT_ONCE)
    ]
    with reporter.track("granules", len(missing)) as task:
        for written in _results(executor, partial(write_composites, country, scratch), work, "granules"):
            task.advance(written)


def _write_crop_map(path: Path, country: Country, scratch: Path, executor: Executor, reporter: Reporter) -> None:
    geobox = map_geobox(read_outline(country.outline), country.resolution)
    work = strips(geobox)

    def in_order() -> Iterator[np.ndarray]:
        """Strips from north to south, whatever the order in which they are ready: it decides the file's bytes."""
        ready: set[int] = set()
        results = _results(executor, partial(save_strip, country, scratch), work, "crop-map")
        with reporter.track("crop map", len(work)) as task:
            for strip in work:
                while strip.number not in ready:
                    ready.add(next(results))
                file = _strip_file(scratch, strip)
                yield np.load(file, allow_pickle=False)
                file.unlink()
                task.advance()

    write_map(path, geobox, in_order(), country.texts)


def _results(executor: Executor, function: Callable[[Item], Result], items: list[Item], name: str) -> Iterator[Result]:
    for outcome in executor.run(function, items, name=name):
        if outcome.error is not None:
            raise outcome.error
        yield outcome.result  # type: ignore[misc]


def compose_band(country: Country, scratch: Path, band: Band) -> int:
    """Work out a band's composition and keep it in the scratch folder.

    Returns:
        Number of land pixels.
    """
    rows = slice(band.row, min(band.row + _BAND_ROWS, TILE_PIXELS))
    pixels = compose(band.tile, rows, read_outline(country.outline), country.seed, country.year)
    if pixels is None:
        return 0
    folder = scratch / str(band.tile) / f"{band.row:04d}"
    folder.mkdir(parents=True)
    pixels.save(folder)
    return int(pixels.pixel.size)


def write_composites(country: Country, scratch: Path, work: Composites) -> int:
    """Write some granules of a tile, beside the scratch folder, from the compositions in it.

    Returns:
        How many.
    """
    bands = {int(path.name): Composition.load(path) for path in sorted((scratch / str(work.tile)).glob("*"))}
    days: list[date] = composite_dates(country.year).tolist()
    for step in work.steps:
        layers = empty_layers(TILE_PIXELS, TILE_PIXELS)
        for row, pixels in bands.items():
            part = {name: layer[row : row + _BAND_ROWS] for name, layer in layers.items()}
            observe(pixels, part, country.seed, country.year, step, (work.tile.h, work.tile.v, row))
        path = scratch.parent / granule_name(work.tile, days[step])
        write_granule(path, work.tile, days[step], layers, attributes=country.texts)
    return len(work.steps)


def save_strip(country: Country, scratch: Path, strip: Strip) -> int:
    """Work out a strip of the crop map and keep it in the scratch folder.

    Returns:
        The strip's number.
    """
    outline = read_outline(country.outline)
    geobox = map_geobox(outline, country.resolution)
    np.save(_strip_file(scratch, strip), map_strip(geobox, strip, outline, country.seed, country.year))
    return strip.number


def _strip_file(scratch: Path, strip: Strip) -> Path:
    return scratch / f"{strip}.npy"
