"""VIIRS LAI/FPAR granules (VNP15A2H and its NOAA-20 and NOAA-21 twins), HDF-EOS5 on the sinusoidal grid.

Source: VIIRS LAI/FPAR user guide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import DAYS_OF_YEAR, composite_dates
from pipeline.base.channel import Channel
from pipeline.base.errors import GranuleError, UserError
from pipeline.base.fingerprint import content_digest
from pipeline.cube.layout import SIMULATED
from pipeline.grid.sinusoidal import TILE_PIXELS, TILE_SIZE, Tile
from pipeline.sources.hdfeos.grid_file import GridFile, open_grid
from pipeline.sources.hdfeos.windows import read_layers, remember
from pipeline.sources.quality import OBSERVED, Rule, judge, look_up
from pipeline.sources.source import Checked, Decoded, Origin, Scene
from pipeline.sources.viirs.codes import (
    CODE_NAMES,
    CROP_BIOMES,
    EXTRA,
    FILL,
    FPAR_MAX,
    QC_FIELDS,
    QC_POLICIES,
    QUALITY,
    STATIC_CODES,
    UNCLASSIFIED,
    rule,
)
from pipeline.sources.viirs.names import FIRST_YEARS, GranuleName, parse_name, tiles_touching
from pipeline.sources.viirs.settings import QcRule

FPAR: Final = "Fpar"
LAYERS: Final = (FPAR, QUALITY, EXTRA)
UNDEFINED: Final = f"code {FPAR_MAX + 1}-{UNCLASSIFIED - 1} undefined"  # count of numbers without a meaning
_SCALE: Final = 0.01
_CORNER_TOLERANCE: Final = 0.01  # m: metadata are printed to six decimals

_IS_CROP: Final = np.isin(QC_FIELDS["BiomeType"].of(np.arange(256)), CROP_BIOMES)
_IS_STATIC: Final = np.isin(np.arange(256), STATIC_CODES)


@dataclass(frozen=True)
class Granule(Scene):
    """A file: one tile of one composite."""

    product: str
    version: str
    tile: Tile


def policy_rules(qc: str, custom: Sequence[QcRule] = ()) -> tuple[Rule, ...]:
    """Return the rules of a quality policy: one of `QC_POLICIES`, or "custom" with the user's own rules.

    Raises:
        UserError: two rules are on one field.
    """
    if qc != "custom":
        return QC_POLICIES[qc]
    fields = [own.field for own in custom]
    for name in fields:
        if fields.count(name) > 1:
            raise UserError(f"ingest.qc_rules has {name} twice: put all values that pass into one rule.")
    return tuple(rule(own.field, *own.accept) for own in custom)


@dataclass(frozen=True)
class ViirsGranules:
    """A folder of granules as a `Source`.

    Attributes:
        folder: of the files.
        year: of the composites' first days.
        policy: name of the quality policy, for records.
        rules: an observation must pass all of them; see `policy_rules`.
    """

    folder: Path
    year: int
    policy: str
    rules: tuple[Rule, ...] = field(repr=False)

    channels: ClassVar[tuple[Channel, ...]] = (
        Channel(
            name="fpar",
            long_name="fraction of absorbed photosynthetically active radiation",
            units="1",
            scale=_SCALE,
            offset=0.0,
            dtype="uint8",
            missing=FILL,
            valid_range=(0, FPAR_MAX),
        ),
    )
    has_static: ClassVar[bool] = True
    has_crop: ClassVar[bool] = True
    row_width: ClassVar[float] = TILE_SIZE  # a chunk has whole rows of a tile

    def settings(self) -> Any:
        """Return the rules: all, besides the files, on which the pixels' meaning depends."""
        return {
            "rules": [[one.field.layer, one.field.first, one.field.last, sorted(set(one.accept))] for one in self.rules]
        }

    def about(self, scenes: Sequence[Scene]) -> Origin:
        """Return the cube's attributes of origin."""
        products = sorted({f"{scene.product}.{scene.version}" for scene in scenes if isinstance(scene, Granule)})
        return {
            "source": ", ".join(products) or "VIIRS LAI/FPAR",
            "qc_policy": self.policy,
        }

    def files(self, outline: BaseGeometry) -> list[Path]:
        """Return the year's newest production of each date and tile that touches a region, ordered by date and tile.

        Raises:
            UserError: the record begins later; the folder is missing or has no granules of the year for the region; or
                products or versions are mixed.
        """
        first = min(FIRST_YEARS.values())
        if self.year < first:
            raise UserError(
                f"there are no VIIRS granules of {self.year}: the record begins in {first}. Give a later --year, or "
                "observations of an older sensor as rasters ([raster] in the configuration)."
            )
        if not self.folder.is_dir():
            raise UserError(f"there is no folder {self.folder}: give the folder of the granules with --granules.")
        named = {path: name for path in sorted(self.folder.glob("*.h5")) if (name := parse_name(path))}
        of_year = {path: name for path, name in named.items() if name.year == self.year}
        if not of_year:
            raise UserError(self._none_of_the_year(sorted({name.year for name in named.values()})))
        tiles = tiles_touching(outline)
        wanted = {path: name for path, name in of_year.items() if name.tile in tiles}
        if not wanted:
            there = sorted({name.tile for name in of_year.values()})
            raise UserError(
                f"{self.folder} holds granules of tiles {_listed(there)}, but the region touches {_listed(tiles)}. "
                "Give another folder with --granules, or fetch these tiles."
            )
        self._refuse_mix(list(wanted.values()))
        newest: dict[tuple[int, Tile], Path] = {}
        for path, name in sorted(wanted.items(), key=lambda item: item[1].produced):
            newest[name.day, name.tile] = path
        return [newest[key] for key in sorted(newest)]

    def older(self, path: Path) -> list[Path]:
        """Return earlier productions of a granule's date and tile in its folder, the newest first."""
        name = parse_name(path)
        if name is None:
            return []
        alike = f"{name.product}.A{name.year}{name.day:03d}.{name.tile}.{name.version}.*.h5"
        return sorted((p for p in path.parent.glob(alike) if parse_name(p) and p.name < path.name), reverse=True)

    def check(self, path: Path) -> Checked:
        """Open a granule and compare it with its name and the product, without decoding pixels.

        Raises:
            GranuleError: it is truncated, damaged or no HDF5, lacks a layer, contradicts its name, or starts on no
                day of the calendar.
        """
        name = parse_name(path)
        if name is None:
            raise GranuleError(f"{path.name}: this is no name of a LAI/FPAR granule")
        if name.day not in DAYS_OF_YEAR:
            raise GranuleError(f"{path.name}: day {name.day} is no first day of an eight-day composite")
        day = date(name.year, 1, 1) + timedelta(days=name.day - 1)
        with open_grid(path, FPAR) as grid:
            grid.check_fields(LAYERS, "uint8", FILL)
            _check_place(grid, name.tile, path.name)
            _check_attributes(grid, name, day, path.name)
            simulated = grid.attribute(SIMULATED)
            remember(path, grid, LAYERS, FILL)
        try:
            digest = content_digest(path)
        except OSError as error:
            raise GranuleError(f"{path.name}: it cannot be read ({error.strerror})") from None
        scene = Granule(path, day, name.tile.geobox(), str(name.tile), name.product, name.version, name.tile)
        return Checked((scene,), digest, "" if simulated is None else str(simulated))

    def expected(self, outline: BaseGeometry) -> dict[str, date]:
        """Return the keys of all 46 dates of all tiles that a region touches, such as "A2018001 h18v04"."""
        tiles, days = tiles_touching(outline), composite_dates(self.year).tolist()
        return {f"A{day:%Y%j} {tile}": day for day in days for tile in tiles}

    def expected_key(self, scene: Scene) -> str:
        """Return the key of the granule's own date and tile."""
        return scene.key

    def read(self, scene: Scene, rows: slice, columns: slice) -> dict[str, np.ndarray]:
        """Read a window of the three layers that FPAR needs, uint8 (rows, columns), by layer name.

        Args:
            scene: which granule.
            rows: of the tile; only their chunks are decoded.
            columns: of the tile.

        Raises:
            GranuleError: the file cannot be opened or its pixels cannot be decoded.
        """
        layers = read_layers(scene.path, FPAR, LAYERS, rows, columns, missing=FILL)
        shape = tuple(len(range(*window.indices(TILE_PIXELS))) for window in (rows, columns))
        for name, layer in layers.items():
            if (layer.dtype, layer.shape) != (np.uint8, shape):
                raise GranuleError(f"{scene.path.name}: {name} is no longer what it was when the file was checked")
        return layers

    def decode(self, raw: dict[str, np.ndarray]) -> Decoded:
        """Decode raw pixels.

        Args:
            raw: uint8 arrays (n,) by layer name, see `read`.

        Returns:
            FPAR in percent and which of it counts; land covers without values; crop biomes, among pixels with a value;
            and the counts of `judge`, and of codes ("code 254 water").
        """
        fpar = raw[FPAR]
        observed = fpar <= FPAR_MAX
        valid, counts = judge(self.rules, raw, observed)
        static = look_up(_IS_STATIC, fpar)
        crop = look_up(_IS_CROP, raw[QUALITY]) & observed
        counts |= _count_codes(fpar, counts[OBSERVED])
        return Decoded({"fpar": fpar}, {"fpar": valid}, static, crop, observed, counts)

    def _none_of_the_year(self, years: list[int]) -> str:
        there = f"granules of {', '.join(map(str, years))}" if years else "no LAI/FPAR granule"
        return (
            f"{self.folder} holds {there}, none of {self.year}. Names look like "
            f"VNP15A2H.A{self.year}001.h18v04.002.<production>.h5; "
            "give another folder with --granules, or another --year."
        )

    def _refuse_mix(self, names: list[GranuleName]) -> None:
        kinds = sorted({(name.product, name.version) for name in names})
        if len(kinds) > 1:
            raise UserError(
                f"{self.folder} mixes {', '.join(f'{product}.{version}' for product, version in kinds)}: their values "
                "do not compare. Keep one product and one version in the folder."
            )
        ((product, _),) = kinds
        if self.year < FIRST_YEARS[product]:
            raise UserError(
                f"{self.folder} holds files named {product} of {self.year}, but that record begins in "
                f"{FIRST_YEARS[product]}: they are not what their names say."
            )


def _listed(tiles: Sequence[Tile]) -> str:
    return ", ".join(map(str, tiles))


def _check_place(grid: GridFile, tile: Tile, where: str) -> None:
    structure = grid.structure
    if structure.shape != (TILE_PIXELS, TILE_PIXELS):
        raise GranuleError(f"{where}: StructMetadata.0 describes {structure.shape} pixels, not {TILE_PIXELS} squared")
    corners = (
        ("UpperLeftPointMtrs", structure.upper_left, tile.upper_left),
        ("LowerRightMtrs", structure.lower_right, tile.lower_right),
    )
    for key, found, expected in corners:
        if max(abs(a - b) for a, b in zip(found, expected, strict=True)) > _CORNER_TOLERANCE:
            raise GranuleError(f"{where}: its {key} is {found}, but tile {tile} has {expected}")


def _check_attributes(grid: GridFile, name: GranuleName, day: date, where: str) -> None:
    """Check that attributes do not contradict the name or the product; missing ones are no fault."""
    scale, offset = (grid.attribute(*names, field=FPAR) for names in (("scale_factor",), ("add_offset", "offset")))
    if scale is not None and not np.isclose(_number(scale), _SCALE, rtol=1e-5):
        raise GranuleError(f"{where}: the scale_factor of {FPAR} is {scale}, not {_SCALE}")
    if offset is not None and _number(offset) != 0:
        raise GranuleError(f"{where}: the offset of {FPAR} is {offset}, not 0")
    said = (
        ("HorizontalTileNumber", name.tile.h),
        ("VerticalTileNumber", name.tile.v),
        ("VersionID", int(name.version)),
    )
    for key, expected in said:
        number = grid.attribute(key)
        if number is not None and _number(number) != expected:
            raise GranuleError(f"{where}: its {key} is {number}, which contradicts its name")
    texts = (("ShortName", name.product), ("RangeBeginningDate", day.isoformat()))
    for key, wanted in texts:
        text = grid.attribute(key)
        if text is not None and str(text)[: len(wanted)] != wanted:
            raise GranuleError(f"{where}: its {key} is {text}, which contradicts its name ({wanted})")


def _number(value: str | float) -> float:
    """Return a number that may be written as a text; NaN, which equals nothing, where it is none."""
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _count_codes(fpar: np.ndarray, observed: int) -> dict[str, int]:
    met = {text: int(np.count_nonzero(fpar == code)) for code, text in CODE_NAMES.items()}
    undefined = fpar.size - observed - sum(met.values())
    named = {f"code {code} {text}": met[text] for code, text in CODE_NAMES.items() if met[text]}
    return named | ({UNDEFINED: undefined} if undefined else {})
