"""The tasks of the simulation: compositions of bands of a tile, granules made from them, strips of the crop map."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.base.calendar import composite_dates
from pipeline.base.fingerprint import Fingerprint
from pipeline.cube.layout import SIMULATED
from pipeline.grid.polygons import read_outline
from pipeline.grid.sinusoidal import TILE_PIXELS, Tile
from pipeline.sources.simulated.composition import Composition, compose
from pipeline.sources.simulated.cropmap import Strip, map_geobox, map_strip
from pipeline.sources.simulated.granules import granule_name, write_granule
from pipeline.sources.simulated.observation import empty_layers, observe

VERSION: Final = 2  # of the simulation: raise it whenever the same configuration would produce other bytes
FINGERPRINT: Final = "SimulationFingerprint"  # name of the fingerprint in every file
BAND_ROWS: Final = 150


@dataclass(frozen=True)
class Country:
    """What every task needs to know; it travels with each of them and is small for that reason."""

    seed: int
    year: int
    outline: Path
    resolution: int  # metres: of the crop map
    fingerprint: Fingerprint

    @property
    def texts(self) -> dict[str, str]:
        """The texts that every file carries."""
        return {SIMULATED: f"yes: sitscube simulation {VERSION}, seed {self.seed}", FINGERPRINT: self.fingerprint}


@dataclass(frozen=True)
class Band:
    """`BAND_ROWS` rows of a tile from `row` on; the last band of a tile may have fewer."""

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


def compose_band(country: Country, scratch: Path, band: Band) -> int:
    """Compute the composition of a band and save it in the scratch folder.

    Returns:
        Number of land pixels.
    """
    rows = slice(band.row, min(band.row + BAND_ROWS, TILE_PIXELS))
    pixels = compose(band.tile, rows, read_outline(country.outline), country.seed, country.year)
    if pixels is None:
        return 0
    folder = scratch / str(band.tile) / f"{band.row:04d}"
    folder.mkdir(parents=True)
    pixels.save(folder)
    return int(pixels.pixel.size)


def write_composites(country: Country, scratch: Path, work: Composites) -> int:
    """Write some granules of a tile beside the scratch folder, from the compositions in it.

    Returns:
        Number of granules.
    """
    bands = {int(path.name): Composition.load(path) for path in sorted((scratch / str(work.tile)).glob("*"))}
    days: list[date] = composite_dates(country.year).tolist()
    for step in work.steps:
        layers = empty_layers(TILE_PIXELS, TILE_PIXELS)
        for row, pixels in bands.items():
            part = {name: layer[row : row + BAND_ROWS] for name, layer in layers.items()}
            observe(pixels, part, country.seed, country.year, step, (work.tile.h, work.tile.v, row))
        path = scratch.parent / granule_name(work.tile, days[step])
        write_granule(path, work.tile, days[step], layers, attributes=country.texts)
    return len(work.steps)


def save_strip(country: Country, scratch: Path, strip: Strip) -> int:
    """Compute a strip of the crop map and save it in the scratch folder.

    Returns:
        Number of the strip.
    """
    outline = read_outline(country.outline)
    geobox = map_geobox(outline, country.resolution)
    np.save(strip_file(scratch, strip), map_strip(geobox, strip, outline, country.seed, country.year))
    return strip.number


def strip_file(scratch: Path, strip: Strip) -> Path:
    """Return the file of a strip in the scratch folder."""
    return scratch / f"{strip}.npy"
