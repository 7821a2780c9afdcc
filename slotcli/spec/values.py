"""Numbers and texts with the limits that keep a definition from asking for the impossible."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _unicode(text: str) -> str:
    """Bytes of a command line that are no text would not fit into the JSON that specs travel in."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode; rename what it stands for") from None
    return text


# The upper limits are far beyond any model. They keep a definition from elsewhere from asking for
# networks that take hours to put together, or sizes that do not fit into 64 bits.
PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]


Side = Annotated[int, Field(gt=0, le=4096)]


Width = Annotated[int, Field(gt=0, le=2**16)]


Depth = Annotated[int, Field(gt=0, le=64)]


Levels = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]


Fraction = Annotated[float, Field(ge=0, le=1)]


Text = Annotated[str, AfterValidator(_unicode)]


class Record(BaseModel):
    # JSON, in which specs travel, knows neither infinity nor NaN.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
