"""slotcli models fetch: published weights, from their address to a model folder."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from slotcli.commands import console
from slotcli.commands.importing import import_into, tell_of_import
from slotcli.commands.options import INPUT, OUTPUT
from slotcli.errors import CannotCreateError, DataError, UnavailableError

if TYPE_CHECKING:
    from slotcli.files.sources import Source
    from slotcli.published.fetching import PublishedFile

_MIB = 2**20


def fetch_model(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A model or backbone (slotcli models list)."),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="The published file, brought here by other means: nothing is downloaded.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Fetch it again, and replace the model of this name.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Fetch the published weights of a model, for use by its name; a download resumes.

    They go to the folder SLOTCLI_MODELS, by default ~/.cache/slotcli/models. SLOTCLI_MIRROR is
    the address of a mirror, which has the files under the host and path of their addresses.
    Proxies are those of the environment (https_proxy).

    Examples:
      slotcli models fetch slotcontrast-ytvis
      slotcli models fetch dinov2-vitb14 --from dinov2_vitb14_pretrain.pth
    """
    from slotcli.files.places import locked
    from slotcli.published.fetching import (
        clear_download,
        download_place,
        given,
        is_fetched,
        model_place,
    )

    source = _source(name)
    if is_fetched(source) and not overwrite:
        console.record({"name": name, "folder": str(model_place(source)), "fetched": False})
        if not console.wants_json():
            console.result(f"{model_place(source)}: is here already.")
        return
    place = download_place(source)
    _make_folder(place.parent)
    with locked(place):
        found = given(file) if file is not None else _downloaded(source, again=overwrite)
        with _kept(found, kept=file is None):
            _install(source, found)
        waiting = clear_download(source)
    with suppress(OSError):  # it is not empty
        place.parent.rmdir()
    if waiting:
        console.note(f"{place} is kept: it has {', '.join(waiting)} too. Remove it at will.")


def _source(name: str) -> "Source":
    from slotcli.files.model_folders import sources, weights_of

    known = sources()
    if name not in known:
        shipped = weights_of(name) is not None  # or raises, for an unknown name
        raise UnavailableError(
            f"{name}: its weights come with slotcli."
            if shipped
            else f"{name}: its authors publish no weights of it.",
            "There is nothing to fetch."
            if shipped
            else "Train it (slotcli pretrain, slotcli train).",
        )
    return known[name]


def _make_folder(folder: Path) -> None:
    from slotcli.files.writing import output_errors

    if str(folder).startswith("~"):
        raise CannotCreateError(
            f"{folder}: there is no such home folder.", "Set SLOTCLI_MODELS to another folder."
        )
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _downloaded(source: "Source", *, again: bool) -> "PublishedFile":
    from slotcli.published.fetching import downloaded

    host = urlsplit(source.asked_address()).netloc
    size = "of unknown size" if source.mib is None else f"about {source.mib} MiB"
    console.note(f"{source.name}: {size}, from {host}. Licence: {source.licence} ({source.page}).")
    console.keeps_finished()
    with console.progress(f"fetching {source.file}", "MiB") as meter:

        def progress(done: int, total: int | None) -> None:
            meter.update(done // _MIB, None if total is None else total // _MIB)

        return downloaded(source, again=again, progress=progress, notice=console.note)


@contextmanager
def _kept(found: "PublishedFile", *, kept: bool) -> Iterator[None]:
    """Says of a downloaded file that cannot be imported that it is kept."""
    try:
        yield
    except DataError as error:
        if not kept or not found.path.is_file():
            raise
        raise DataError(
            error.what, f"{error.advice} The download is kept; --overwrite fetches it again."
        ) from error


def _install(source: "Source", found: "PublishedFile") -> None:
    """Imports the weights into the model's folder, and prints what was checked and what was not."""
    from slotcli.published.fetching import (
        install_backbone,
        model_place,
        weights_file,
        write_record,
    )

    facts: dict[str, Any] = {}
    with weights_file(source, found) as weights:
        if source.vit is not None:
            path, tensors = install_backbone(source, weights)
            facts = {"weights": str(path)}
        else:
            facts = import_into(
                model_place(source), weights, source.name, overwrite=True, address=source.address
            )
            tensors = facts["mapped"]
    recorded = write_record(source, found, tensors)
    console.record({**facts, **recorded, "received": found.received, "fetched": True})
    if source.vit is None:
        tell_of_import(facts)
        use = f"Use it with --model {source.name}"
    else:
        if not console.wants_json():
            console.result(f"{facts['weights']}: {tensors} tensors.")
        use = f"Definitions name it; any other takes --set train.backbone={source.name}"
    console.note(_checks(recorded, tensors))
    console.note(use)


def _checks(recorded: dict[str, Any], tensors: int) -> str:
    digest, fits = recorded["sha256"], f"its {tensors} tensors are exactly the network's"
    if recorded["checked"] == "known sha256":
        return f"Checked: {fits}, and its sha256 is the known one."
    if recorded["known_sha256"] is not None:
        known = f"Its sha256 is {digest}, not {recorded['known_sha256']}, that of the published one"
    else:
        known = f"No hash of the published file is known here; that of this one is {digest}"
    if recorded["sha256_of_server"] is not None:
        return f"Checked: {fits}, and its sha256 is what the server states. {known}."
    return f"Checked by structure only: {fits}. {known}."
