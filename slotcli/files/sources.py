"""Addresses, licences and hashes of the weights that others publish: the table of `models/`."""

import os
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from slotcli.errors import UsageError

TABLE = "sources.toml"
MIRROR = "SLOTCLI_MIRROR"
_HUB = "https://huggingface.co"
_HUB_MIRROR = "HF_ENDPOINT"  # what the hub's own clients read


@dataclass(frozen=True)
class Source:
    """A published file of weights; sizes in bytes and hashes are None where they are unknown."""

    name: str
    address: str
    page: str
    licence: str
    file: str
    mib: int | None = None
    size: int | None = None
    sha256: str | None = None
    member: str | None = None
    vit: dict[str, Any] | None = None
    """The network, as a definition gives it, where the file is a backbone to train on."""

    def asked_address(self) -> str:
        """The address to ask: the published one, or the mirror's of the environment.

        A mirror has the file under the host and the path of the published address. Raises
        UsageError where the mirror is not an http address.
        """
        mirror, path = os.environ.get(MIRROR), self.address.removeprefix("https://")
        if not mirror and self.address.startswith(f"{_HUB}/"):
            mirror, path = os.environ.get(_HUB_MIRROR), self.address.removeprefix(f"{_HUB}/")
        if not mirror:
            return self.address
        if urlsplit(mirror).scheme not in ("http", "https"):
            raise UsageError(
                f"{mirror}: a mirror has to be an http or https address.",
                f"Correct {MIRROR} or {_HUB_MIRROR} in the environment, or unset it.",
            )
        return f"{mirror.rstrip('/')}/{path}"


@cache
def read_sources(table: Path) -> dict[str, Source]:
    """The sources in a table, by the name of model or backbone; none if there is no table."""
    if not table.is_file():
        return {}
    found: dict[str, Source] = {}
    for name, row in tomllib.loads(table.read_text(encoding="utf-8")).items():
        suffix = PurePosixPath(urlsplit(row["address"]).path).suffix
        found[name] = Source(**{"name": name, "file": f"{name}{suffix}", **row})
    return found
