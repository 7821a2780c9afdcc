"""From the address of published weights to a file that was checked, and the record of it."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slotcli.checkpoint import file_sha256
from slotcli.errors import DataError, NoInputError, printable
from slotcli.files.download import download
from slotcli.files.model_folders import BACKBONE, WEIGHTS, fetched_models, sources
from slotcli.files.sources import Source
from slotcli.files.writing import output_errors, whole_file
from slotcli.published.vit_weights import require_backbone
from slotcli.spec import VitSpec

RECORD = "source.json"  # written last: it marks a fetched model as complete
_DOWNLOADS = "downloads"


@dataclass(frozen=True)
class PublishedFile:
    """A file of published weights on this disk; `received` bytes came over the network now."""

    path: Path
    size: int
    sha256: str
    received: int
    address: str | None
    stated_sha256: str | None

    def checked(self, source: Source) -> str:
        """The strongest comparison that the file passed, of those that its source allows."""
        if self.sha256 == source.sha256:
            return "known sha256"
        return "structure only" if self.stated_sha256 is None else "sha256 stated by the server"


def model_place(source: Source) -> Path:
    """The folder of a fetched model or backbone, whether it exists or not."""
    return fetched_models() / source.name


def is_fetched(source: Source) -> bool:
    """Whether a model or backbone was fetched as a whole, and is still there."""
    place = model_place(source)
    weights = (place / WEIGHTS).is_file() or any(place.glob(f"{BACKBONE}.*"))
    return weights and (place / RECORD).is_file()


def download_place(source: Source) -> Path:
    """Where a source's file is while it is downloaded and imported."""
    return fetched_models() / _DOWNLOADS / source.file


def downloaded(
    source: Source,
    *,
    again: bool,
    progress: Callable[[int, int | None], None],
    notice: Callable[[str], None],
) -> PublishedFile:
    """The source's file, from its address or the mirror's, unless it is on the disk already.

    One that is there, because its import failed, is downloaded `again` if requested. Raises as
    `download` does.
    """
    path, address = download_place(source), source.asked_address()
    if path.is_file() and not again:
        notice(f"{path} is here already, and is not downloaded again.")
        size, digest, received, stated = path.stat().st_size, file_sha256(path), 0, None
    else:
        done = download(
            address,
            path,
            size=source.size,
            sha256=source.sha256,
            progress=progress,
            notice=notice,
        )
        size, digest, received, stated = (
            done.size,
            done.sha256,
            done.received,
            done.stated_sha256,
        )
    return PublishedFile(path, size, digest, received, address, stated)


def given(path: Path) -> PublishedFile:
    """A published file that was brought here by other means. Raises NoInputError."""
    if not path.is_file():
        raise NoInputError(f"{printable(path)}: there is no such file.", "Check the path.")
    return PublishedFile(path, path.stat().st_size, file_sha256(path), 0, None, None)


@contextmanager
def weights_file(source: Source, file: PublishedFile) -> Iterator[Path]:
    """The weights of a source: the file itself, or its member of an archive, unpacked meanwhile.

    Raises DataError where the archive is damaged or has no such member, and as `output_errors`.
    """
    if source.member is None or not zipfile.is_zipfile(file.path) or _is_torch(file.path):
        yield file.path
        return
    unpacked = download_place(source).with_name(source.member)
    try:
        with zipfile.ZipFile(file.path) as archive:
            names = [n for n in archive.namelist() if n.rpartition("/")[2] == source.member]
            if not names:
                raise DataError(
                    f"{file.path}: has no {source.member}.",
                    f"Its authors may have renamed it: look at {source.page}, unpack the archive, "
                    "and give the file with --from FILE.",
                )
            with output_errors(unpacked):
                unpacked.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(names[0]) as packed, whole_file(unpacked) as plain:
                shutil.copyfileobj(packed, plain)
        yield unpacked
    except zipfile.BadZipFile as error:
        raise DataError(f"{file.path}: a damaged archive: {error}.", "Fetch it again.") from error
    finally:
        unpacked.unlink(missing_ok=True)


def _is_torch(path: Path) -> bool:
    """Whether an archive is a file of torch's own, which are zip files as well."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def install_backbone(source: Source, weights: Path) -> tuple[Path, int]:
    """Copies a backbone's file, as it is, into its folder; returns its path, and its tensors.

    Raises DataError where its tensors are not exactly the network's, and as `output_errors`.
    """
    tensors = require_backbone(weights, VitSpec.model_validate(source.vit))
    place = model_place(source) / f"{BACKBONE}{weights.suffix}"
    with output_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    with weights.open("rb") as theirs, whole_file(place) as ours:
        shutil.copyfileobj(theirs, ours)
    for earlier in set(place.parent.glob(f"{BACKBONE}.*")) - {place}:
        with output_errors(earlier):
            earlier.unlink()
    return place, tensors


def write_record(source: Source, file: PublishedFile, tensors: int) -> dict[str, Any]:
    """Records beside a fetched model where it is from, and what was checked; returns that."""
    facts = {
        "name": source.name,
        "address": file.address,
        "published_at": source.address,
        "page": source.page,
        "licence": source.licence,
        "file": file.path.name,
        "size": file.size,
        "sha256": file.sha256,
        "known_sha256": source.sha256,
        "sha256_of_server": file.stated_sha256,
        "tensors": tensors,
        "checked": file.checked(source),
    }
    with whole_file(model_place(source) / RECORD) as record:
        record.write((json.dumps(facts, indent=1) + "\n").encode())
    return facts


def clear_download(source: Source) -> list[str]:
    """Removes a downloaded file, unless others that are not fetched are in it: returns these."""
    path = download_place(source)
    waiting = [
        own.name for own in sources().values() if own.file == source.file and not is_fetched(own)
    ]
    if not waiting:
        path.unlink(missing_ok=True)
    return waiting if path.is_file() else []
