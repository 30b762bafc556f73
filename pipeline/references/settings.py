"""The section `reference` of the configuration."""

from pydantic import Field, field_validator

from pipeline.base.settings import AbsolutePath, Section
from pipeline.references import AUTO, PRODUCTS


class Reference(Section):
    """The crop map that the result is compared with."""

    path: AbsolutePath | None = Field(
        None,
        description="EUCROPMAP GeoTIFF, or folder of WorldCereal zips; none: the simulated one, if Italy is simulated",
    )
    product: str = Field(AUTO, description=f"{', '.join(PRODUCTS)}, or auto: told by what path is")
    classes: AbsolutePath | None = Field(
        None, description="CSV table of classes and their seasons; none: the product's of pipeline/references/tables"
    )
    weak: bool = Field(False, description="whether crops count that are mostly, but not certainly, of one season")
    year: int | None = Field(None, description="that the map is of; none: must be that of the observations")

    @field_validator("product")
    @classmethod
    def _known_product(cls, name: str) -> str:
        if name not in (AUTO, *PRODUCTS):
            raise ValueError(f"unknown product: choose one of {', '.join((AUTO, *PRODUCTS))}")
        return name
