"""Rules of a quality policy in the configuration."""

from pydantic import Field, model_validator

from pipeline.base.settings import Section
from pipeline.sources.viirs.codes import QC_FIELDS


class QcRule(Section):
    """A rule of your own quality policy: observations count only where the field has an accepted value."""

    field: str = Field(description="one of " + ", ".join(QC_FIELDS))
    accept: tuple[int, ...] = Field(min_length=1, description="values of the field")

    @model_validator(mode="after")
    def _known_field(self) -> "QcRule":
        if self.field not in QC_FIELDS:
            raise ValueError(f"unknown field {self.field!r}: choose one of {', '.join(QC_FIELDS)}")
        bits = QC_FIELDS[self.field]
        most = (1 << (bits.last - bits.first + 1)) - 1
        if any(not 0 <= value <= most for value in self.accept):
            raise ValueError(f"{self.field} holds values from 0 to {most}, not all of {list(self.accept)}")
        return self
