"""Rasters of any origin as a source of observations: GeoTIFF, COG or NetCDF files that the configuration describes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from pipeline.base.calendar import CalendarName, composite_dates, period_of
from pipeline.base.channel import Channel
from pipeline.base.errors import GranuleError, UserError
from pipeline.base.fingerprint import content_digest, fingerprint_of
from pipeline.sources.quality import ACCEPTED, OBSERVED, BitField, Rule, judge
from pipeline.sources.raster.files import open_raster
from pipeline.sources.raster.grid import same_grid
from pipeline.sources.raster.names import Named, NamePattern, Step
from pipeline.sources.raster.numbers import GIVEN, as_bits, as_stored, cube_channel, observed
from pipeline.sources.raster.settings import Raster, RasterLayer
from pipeline.sources.source import Checked, Decoded, Origin, Scene

_ONE_PLACE: Final = "whole"


@dataclass(frozen=True)
class RasterScene(Scene):
    """A date of a file, or of several that belong together."""

    parts: tuple[tuple[Path, int | None], ...]  # of each layer, its file and the date's index in it


@dataclass(frozen=True)
class Rasters:
    """The year's rasters in a folder; see `pipeline.sources.source.Source`."""

    raster: Raster
    year: int
    calendar: CalendarName
    has_crop: bool = False
    row_width: float = 0.0

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """The measured quantities, as the cube stores them."""
        return tuple(cube_channel(channel) for channel in self.raster.channels)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """Rules of quality that an observation must pass to count."""
        return tuple(
            Rule(rule.name, BitField(name, *rule.bits), rule.accepted())
            for name, layer in zip(self.raster.quality_names, self.raster.quality, strict=True)
            for rule in layer.rules
        )

    @cached_property
    def has_static(self) -> bool:
        """Whether some numbers mean land covers that never have values."""
        return any(channel.static for channel in self.raster.channels)

    @property
    def _layers(self) -> dict[str, RasterLayer]:
        """Channels, then quality layers, by name."""
        layers: dict[str, RasterLayer] = {channel.name: channel for channel in self.raster.channels}
        return layers | dict(zip(self.raster.quality_names, self.raster.quality, strict=True))

    @property
    def _folder(self) -> Path:
        if self.raster.folder is None:
            raise UserError("no folder of rasters is given: set raster.folder.")
        return self.raster.folder

    def settings(self) -> Any:
        """Return the section of the configuration, without the folder."""
        return self.raster.model_dump(mode="json", exclude={"folder"})

    def about(self, scenes: Sequence[Scene]) -> Origin:
        """Return the cube's attributes of origin."""
        origins = [
            f"{channel.long_name or channel.name} of {', '.join(self._patterns(channel))}"
            for channel in self.raster.channels
        ]
        return {
            "source": "rasters: " + "; ".join(origins),
            "qc_policy": "bit rules" if self.rules else "none",
        }

    def files(self, outline: BaseGeometry) -> list[Path]:
        """Return the year's files of the first channel, by date; those of other layers are found from them.

        Raises:
            UserError: there is no folder or no such file, or two files have the same date and place.
        """
        if not self._folder.is_dir():
            raise UserError(f"there is no folder {self._folder}: set raster.folder.")
        found = self._find(self.raster.channels[0], Named(self.year))
        if not found:
            raise UserError(self._nothing_found())
        first: dict[tuple[date, str | None], Path] = {}
        for path, named in found.items():
            if named.day is not None and first.setdefault((named.day, named.place), path) != path:
                raise UserError(
                    f"{first[named.day, named.place].name} and {path.name} in {self._folder} are both of {named.day}: "
                    "keep one of them, or tell places apart by {place} in the pattern raster.files."
                )
        return sorted(found, key=lambda path: (found[path].day or date.min, found[path].place or "", path))

    def older(self, path: Path) -> list[Path]:
        """Return nothing: of two files of one date, the user decides which one counts."""
        return []

    def check(self, path: Path) -> Checked:
        """Find the files of the other layers, and compare their dates and grids; see `Source.check`.

        A date that one of them lacks is no scene: an observation without its quality does not count.
        """
        parts, layers, named = self._parts(path), self._layers, self._named(path)
        dates: dict[str, dict[date, int | None]] = {}
        grids: dict[str, GeoBox] = {}
        simulated = ""
        files = list(dict.fromkeys(parts.values()))
        for part in files:
            with open_raster(part, self.raster.crs, self.raster.band_date) as file:
                simulated = simulated or file.simulated
                for name in (name for name in parts if parts[name] == part):
                    dates[name] = _by_day(file.steps(layers[name]), named)
                    grids[name] = file.grid(layers[name]).geobox
        geobox = _common_grid(grids, parts)
        first = self.channels[0].name
        days = [day for day in dates[first] if day.year == self.year]
        shared = [day for day in days if all(day in of_layer for of_layer in dates.values())]
        if days and not shared:
            raise GranuleError(f"{path.name}: no other layer has any of its dates, such as {days[0]}")
        place = named.place or (_ONE_PLACE if named.day else path.stem)
        scenes = tuple(
            RasterScene(path, day, geobox, place, tuple((part, dates[name][day]) for name, part in parts.items()))
            for day in sorted(shared)
        )
        rows, columns = geobox.shape
        for scene in scenes:  # a truncated file lacks its last pixel
            self.read(scene, slice(rows - 1, rows), slice(columns - 1, columns))
        return Checked(scenes, fingerprint_of([content_digest(part) for part in files]), simulated)

    def expected(self, outline: BaseGeometry) -> dict[str, date]:
        """Return the first day of each of the year's periods."""
        return {str(day): day.item() for day in composite_dates(self.year, self.calendar)}

    def expected_key(self, scene: Scene) -> str:
        """Return the first day of the period of a scene's date."""
        return str(composite_dates(self.year, self.calendar)[period_of(scene.day, self.calendar)])

    def read(self, scene: Scene, rows: slice, columns: slice) -> dict[str, np.ndarray]:
        """Read raw layers of a window by name; see `Source.read`.

        A layer `NAME:given` is added where pixels of NAME are the file's own missing value.
        """
        if not isinstance(scene, RasterScene):
            raise TypeError(f"{scene.key} is no scene of rasters")
        raw: dict[str, np.ndarray] = {}
        layers = list(self._layers.items())
        for part in dict.fromkeys(path for path, _ in scene.parts):
            with open_raster(part, self.raster.crs, self.raster.band_date) as file:
                for (name, layer), (path, index) in zip(layers, scene.parts, strict=True):
                    if path == part:
                        numbers, given = file.read(layer, index, rows, columns)
                        if name in self.raster.quality_names:
                            numbers, given = as_bits(name, numbers, given)
                        raw[name] = numbers
                        if given is not None and not given.all():
                            raw[name + GIVEN] = given
        return raw

    def decode(self, raw: dict[str, np.ndarray]) -> Decoded:
        """Decode raw pixels (n,); see `Source.decode`."""
        present = {channel.name: observed(channel, raw) for channel in self.raster.channels}
        accepted, counts = judge(self.rules, raw, np.logical_or.reduce(list(present.values())))
        for name in self.raster.quality_names:
            if name + GIVEN in raw:  # the quality of these pixels is unknown
                accepted &= raw[name + GIVEN]
        counts[ACCEPTED] = int(np.count_nonzero(accepted))
        if gaps := accepted.size - counts[OBSERVED]:
            counts["code none"] = gaps
        valid = {name: has & accepted for name, has in present.items()}
        return Decoded(
            values={
                channel.name: as_stored(raw[channel.name], valid[channel.name], channel.step, stored)
                for channel, stored in zip(self.raster.channels, self.channels, strict=True)
            },
            valid=valid,
            static=np.logical_or.reduce(
                [np.isin(raw[channel.name], channel.static) for channel in self.raster.channels if channel.static]
            )
            if self.has_static
            else None,
            counts=counts,
        )

    def _patterns(self, layer: RasterLayer) -> tuple[str, ...]:
        return layer.files or self.raster.files

    def _find(self, layer: RasterLayer, like: Named) -> dict[Path, Named]:
        """Find the files of a layer, with the parts of their names by the first pattern that matches."""
        found: dict[Path, Named] = {}
        for pattern in self._patterns(layer):
            for path, named in NamePattern(pattern).find(self._folder, like):
                found.setdefault(path, named)
        return found

    def _named(self, path: Path) -> Named:
        """Return the parts of the name of a file of the first channel."""
        text = path.relative_to(self._folder).as_posix()
        fits = (NamePattern(pattern).match(text) for pattern in self._patterns(self.raster.channels[0]))
        return next((named for named in fits if named is not None), Named())

    def _parts(self, path: Path) -> dict[str, Path]:
        """Return the file of every layer that belongs to a file of the first channel.

        Raises:
            GranuleError: a layer has no file of that date and place, or several.
        """
        leading = self._patterns(self.raster.channels[0])
        named = self._named(path)
        parts = {}
        for name, layer in self._layers.items():
            patterns = self._patterns(layer)
            found = [path] if patterns == leading else list(self._find(layer, named))
            if len(found) != 1:
                what = "no file" if not found else f"{len(found)} files ({found[0].name}, {found[1].name}, ...)"
                raise GranuleError(f"{path.name}: {what} of {name} ({', '.join(patterns)}) for its date and place")
            parts[name] = found[0]
        return parts

    def _nothing_found(self) -> str:
        channel = self.raster.channels[0]
        patterns = ", ".join(self._patterns(channel))
        years = sorted({named.year for named in self._find(channel, Named()).values() if named.year is not None})
        if not years:
            return f"{self._folder} holds no file that fits {patterns}: mend raster.folder or the patterns."
        listed = ", ".join(map(str, years))
        return f"{self._folder} holds files of {listed} that fit {patterns}, none of {self.year}: set year."


def _common_grid(grids: dict[str, GeoBox], parts: dict[str, Path]) -> GeoBox:
    """Return the grid of all layers.

    Raises:
        GranuleError: their grids differ.
    """
    first, *others = grids
    for name in others:
        if not same_grid(grids[first], grids[name]):
            raise GranuleError(
                f"{parts[first].name}: {_described(grids[first])} are not the pixels of {name} in {parts[name].name}, "
                f"{_described(grids[name])}"
            )
    return grids[first]


def _described(grid: GeoBox) -> str:
    x, y = grid.transform.c, grid.transform.f
    return f"{grid.shape[0]} x {grid.shape[1]} pixels of {grid.transform.a:g} from ({x:.10g}, {y:.10g}), {grid.crs}"


def _by_day(steps: list[Step], named: Named) -> dict[date, int | None]:
    """Return the index of each date in a file; a file with a single date has that of its name.

    Raises:
        GranuleError: neither name nor content has a date, or one occurs twice.
    """
    if len(steps) == 1 and named.day is not None:
        return {named.day: steps[0].index}
    days: dict[date, int | None] = {}
    for step in steps:
        if step.day is None:
            raise GranuleError(
                "neither its name nor its content says its date: write where the name has it into "
                "raster.files, such as ndvi_%Y%m%d.tif"
            )
        if step.day in days:
            raise GranuleError(f"it holds {step.day} twice")
        days[step.day] = step.index
    return days
