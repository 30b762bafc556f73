"""Simulate: a year of VNP15A2H granules of Italy, and the crop map that the result is compared with."""

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
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
from pipeline.base.fingerprint import Fingerprint, content_digest, fingerprint_of
from pipeline.base.progress import Reporter
from pipeline.base.stage_names import Stage
from pipeline.config.config import Config
from pipeline.cube.layout import SIMULATED
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import TILE_PIXELS, Tile
from pipeline.runtime.executor import Executor
from pipeline.runtime.stage import StageResult
from pipeline.sources.simulated.cropmap import map_geobox, strips, write_map
from pipeline.sources.simulated.granules import granule_name
from pipeline.stages.context import Run
from pipeline.stages.simulate.tasks import (
    BAND_ROWS,
    FINGERPRINT,
    VERSION,
    Band,
    Composites,
    Country,
    compose_band,
    save_strip,
    strip_file,
    write_composites,
)

STAGE: Final = Stage.SIMULATE
TILES: Final = (Tile(18, 4), Tile(18, 5), Tile(19, 4), Tile(19, 5))
_ITALY: Final = box(6.0, 35.0, 19.0, 47.6)  # degrees: where the landscape is defined and the four tiles reach
_STEPS_AT_ONCE: Final = 5  # composites of a tile in one task: its composition is loaded once for all of them

Item = TypeVar("Item")
Result = TypeVar("Result")


def simulate(config: Config, executor: Executor | None = None, reporter: Reporter | None = None) -> StageResult:
    """Write a year of granules into `config.granules` and the crop map to `config.reference_path`.

    Files of the same year, seed, outline and map resolution are kept. Files of another simulation are removed, all of
    them before the first new one is written. Where `reference.path` names a map, that map is left alone.

    Args:
        config: year, region, simulation and folders.
        executor: where the tasks run; in this process if None.
        reporter: where progress is reported; nowhere if None.

    Returns:
        Folder of the granules, and the map; not fresh if all of them were there.

    Raises:
        UserError: the configuration names granules of its own, the outline leaves Italy, or files cannot be written.
    """
    run = Run.of(config, executor, reporter)
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
        _prepare(outputs, scratch, country.fingerprint)
        missing = [path for path in outputs if not path.exists()]
        if missing:
            scratch.mkdir()
            _write_granules(run, [key for key, path in granules.items() if path in missing], country, scratch)
            if crop_map in missing:
                _write_crop_map(run, crop_map, country, scratch)
    except OSError as error:
        if error.errno is None and not isinstance(error, RasterioIOError):
            raise  # not about a file: a lost connection to the cluster is an OSError too
        raise UserError(
            f"the simulation cannot write into {config.granules.parent.parent}: {error}. "
            "Make room or give another folder with --out; what is written stays, and running again does the rest."
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return StageResult(
        STAGE,
        fresh=bool(missing),
        outputs=(config.granules, *((crop_map,) if crop_map else ())),
        facts={
            "simulated": country.texts[SIMULATED],
            "fingerprint": country.fingerprint,
            "granules": len(granules),
            "written": len(missing),
            "bytes": sum(path.stat().st_size for path in outputs),
        },
    )


def files_to_write(config: Config) -> tuple[list[Path], int]:
    """Return the files of the simulation that are missing, damaged or of another one, and the number of all files."""
    crop_map, fingerprint = _crop_map(config), _country(config).fingerprint
    outputs = [*_granules(config).values(), *([crop_map] if crop_map else [])]
    return [path for path in outputs if not path.exists() or _fingerprint_in(path) != fingerprint], len(outputs)


def _granules(config: Config) -> dict[tuple[Tile, int], Path]:
    """Return the file of every tile and composite of the year."""
    return {
        (tile, step): config.granules / granule_name(tile, day)
        for tile in TILES
        for step, day in enumerate(composite_dates(config.year).tolist())
    }


def _crop_map(config: Config) -> Path | None:
    """Return the path of the crop map; None where the configuration names another map."""
    return config.reference_path if config.reference.path is None else None


def _country(config: Config) -> Country:
    """Return what is simulated.

    Raises:
        UserError: the outline leaves Italy.
    """
    outline = read_outline(config.region.outline)
    if not _ITALY.contains(outline):
        west, south, east, north = outline.bounds
        raise UserError(
            f"only Italy is simulated, but region.outline {config.region.outline} reaches over longitudes "
            f"{west:.1f} to {east:.1f} and latitudes {south:.1f} to {north:.1f}: give an outline within "
            "6..19 E, 35..47.6 N, or granules with --granules."
        )
    digest = content_digest(config.region.outline)
    return Country(
        seed=config.simulation.seed,
        year=config.year,
        outline=config.region.outline.resolve(),
        resolution=config.simulation.reference_resolution,
        fingerprint=fingerprint_of("simulation", VERSION, config.year, config.simulation, digest),
    )


def _prepare(outputs: tuple[Path, ...], scratch: Path, fingerprint: Fingerprint) -> None:
    """Make the folders; remove what a killed run left, and files of other simulations so that none are mixed."""
    for folder in {path.parent for path in outputs}:
        folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(scratch, ignore_errors=True)
    for path in outputs:
        sweep_partials(path.parent, path.name)
        if path.exists() and _fingerprint_in(path) != fingerprint:
            path.unlink()


def _fingerprint_in(path: Path) -> str | None:
    """Return the fingerprint that a file carries; None if it is damaged or carries none."""
    try:
        if path.suffix == ".h5":
            with h5py.File(path, "r") as granule:
                value = granule.attrs.get(FINGERPRINT)
                return None if value is None else bytes(value).decode()
        with rasterio.open(path) as crop_map:
            return crop_map.tags().get(FINGERPRINT)
    except OSError:
        return None


def _write_granules(run: Run, missing: list[tuple[Tile, int]], country: Country, scratch: Path) -> None:
    """Write the granules of these tiles and composites."""
    steps = defaultdict(list)
    for tile, step in missing:
        steps[tile].append(step)
    bands = [Band(tile, row) for tile in steps for row in range(0, TILE_PIXELS, BAND_ROWS)]
    with run.reporter.track("landscape", len(bands)) as task:
        for _ in _results(run, partial(compose_band, country, scratch), bands, "compose"):
            task.advance()
    work = [
        Composites(tile, tuple(of_tile[n : n + _STEPS_AT_ONCE]))
        for tile, of_tile in steps.items()
        for n in range(0, len(of_tile), _STEPS_AT_ONCE)
    ]
    with run.reporter.track("granules", len(missing)) as task:
        for written in _results(run, partial(write_composites, country, scratch), work, "granules"):
            task.advance(written)


def _write_crop_map(run: Run, path: Path, country: Country, scratch: Path) -> None:
    """Write the crop map from its strips."""
    geobox = map_geobox(read_outline(country.outline), country.resolution)
    work = strips(geobox)

    def in_order() -> Iterator[np.ndarray]:
        """Yield strips from north to south in whatever order they are ready: the order decides the file's bytes."""
        ready: set[int] = set()
        results = _results(run, partial(save_strip, country, scratch), work, "crop-map")
        with run.reporter.track("crop map", len(work)) as task:
            for strip in work:
                while strip.number not in ready:
                    ready.add(next(results))
                file = strip_file(scratch, strip)
                yield np.load(file, allow_pickle=False)
                file.unlink()
                task.advance()

    write_map(path, geobox, in_order(), country.texts)


def _results(run: Run, function: Callable[[Item], Result], items: list[Item], name: str) -> Iterator[Result]:
    """Yield the result of every task as it is ready; the first error ends the stage."""
    for outcome in run.executor.run(function, items, name=name):
        if outcome.error is not None:
            raise outcome.error
        yield outcome.result  # type: ignore[misc]
