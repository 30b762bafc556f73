"""Names of the outputs of a region and year, which no other module knows."""

from dataclasses import dataclass

from pipeline.base.locations import Location


@dataclass(frozen=True)
class Outputs:
    """The locations of a year's outputs, and of those that all years of its region share."""

    out: Location
    region: str
    year: int

    @property
    def region_folder(self) -> Location:
        """Folder of the region's outputs of all years."""
        return self.out / self.region

    @property
    def year_folder(self) -> Location:
        """Folder of the year's outputs."""
        return self.region_folder / str(self.year)

    @property
    def cube(self) -> Location:
        """The year's observations, their counts and means."""
        return self.year_folder / "cube.zarr"

    @property
    def map(self) -> Location:
        """The year's labels, confidence and filled series."""
        return self.year_folder / "map.zarr"

    @property
    def clusters(self) -> Location:
        """The cluster cube of all years of the region."""
        return self.region_folder / "clusters.zarr"
