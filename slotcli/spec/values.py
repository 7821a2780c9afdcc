"""Numbers and texts with limits that keep a definition from requesting the impossible."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _unicode(text: str) -> str:
    """Raises ValueError for a text that is not Unicode, and does not fit into the JSON of specs."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("not Unicode; rename what it stands for") from None
    return text


# The upper limits are far beyond any model. They keep an untrusted definition from requesting
# networks that take hours to build, or sizes that do not fit into 64 bits.
PositiveInt = Annotated[int, Field(gt=0, lt=2**31)]


Seed = Annotated[int, Field(ge=0, lt=2**63)]


Side = Annotated[int, Field(gt=0, le=4096)]


Width = Annotated[int, Field(gt=0, le=2**16)]


Depth = Annotated[int, Field(gt=0, le=64)]


Levels = Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]


Fraction = Annotated[float, Field(ge=0, le=1)]


Text = Annotated[str, AfterValidator(_unicode)]


class Record(BaseModel):
    # Specs are saved as JSON, which has neither infinity nor NaN.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
