"""The kinds of data sets, for annotations; imports no data set."""

from typing import Literal

PublicKind = Literal["movi", "clevrtex", "celeba", "davis", "ytvis"]
LabelledKind = Literal["synth", PublicKind]
DataKind = Literal[LabelledKind, "folder"]
