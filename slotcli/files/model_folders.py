"""Folders of models: those of this installation, and those whose weights were fetched."""

import os
from pathlib import Path

from slotcli.errors import NoInputError, UnavailableError
from slotcli.files.sources import TABLE, Source, read_sources
from slotcli.wrong_keys import closest

WEIGHTS = "weights.safetensors"
DEFINITION = "model.toml"
BACKBONE = "backbone"  # and the suffix that it was published with, in the folder of its name
HOME = "SLOTCLI_MODELS"


def model_folders() -> list[Path]:
    """Folders of all models of this installation, sorted by name."""
    package = Path(__file__).resolve().parents[1]
    for root in (package.parent / "models", package / "models"):
        if root.is_dir() and any(root.glob(f"*/{DEFINITION}")):
            return sorted(path.parent for path in root.glob(f"*/{DEFINITION}"))
    return []


def sources() -> dict[str, Source]:
    """Published weights by the name of the model or backbone, sorted by name."""
    folders = model_folders()
    found = read_sources(folders[0].parent / TABLE) if folders else {}
    return dict(sorted(found.items()))


def fetched_models() -> Path:
    """The folder of fetched models: SLOTCLI_MODELS, or else in the user's cache.

    It begins with "~" where the user has no home folder.
    """
    # F5
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    given = os.environ.get(HOME) or os.path.join(cache, "slotcli", "models")
    return Path(os.path.expanduser(given))


def find_model(reference: str) -> Path:
    """The folder or file of `reference`: a path, or a model's name, installed or fetched.

    Raises NoInputError where there is none.
    """
    path = Path(reference)
    if path.exists():
        return path
    folders = {folder.name: folder for folder in model_folders()}
    if reference in folders:
        return folders[reference]
    if (fetched_models() / reference / DEFINITION).is_file():
        return fetched_models() / reference
    if reference in sources():
        raise NoInputError(
            f"{reference}: is a backbone, not a model.",
            f"Train a model on it: --set train.backbone={reference}.",
        )
    meant = closest(reference, list({**folders, **sources()}))
    raise NoInputError(
        f"{reference}: there is no such model.",
        (f"Did you mean {meant}? " if meant else "")
        + f"Give a path, or one of: {', '.join(folders) or 'none'}.",
    )


def find_definition(reference: str) -> Path:
    """The model.toml of a model: in its folder, or `reference` itself. Raises NoInputError."""
    path = find_model(reference)
    return path / DEFINITION if path.is_dir() else path


def weights_of(reference: str) -> Path | None:
    """The weights file of a model, if it has any: beside its definition, or else fetched.

    Raises NoInputError where there is no such model.
    """
    path = find_model(reference)
    if not path.is_dir():
        return path if path.is_file() and path.suffix != ".toml" else None
    places = [path]
    if path in model_folders():
        places.append(fetched_models() / path.name)
    return next((own / WEIGHTS for own in places if (own / WEIGHTS).is_file()), None)


def find_weights(reference: str) -> Path:
    """The weights file of a model. Raises UnavailableError where it has only a definition."""
    path = find_model(reference)
    if path.is_file():
        return path
    found = weights_of(reference)
    if found is None:
        named = path in model_folders() and path.name in sources()
        raise UnavailableError(
            f"{reference}: the model has a definition but no weights ({WEIGHTS} is missing).",
            f"Fetch its authors': slotcli models fetch {path.name}."
            if named
            else "Train it (slotcli pretrain, slotcli train) or import it (slotcli models import).",
        )
    return found


def backbone_file(reference: str) -> Path:
    """The file of a backbone's weights: a path, or the name of a backbone that was fetched.

    Raises UnavailableError where it was not.
    """
    path = Path(reference)
    if path.exists() or reference not in sources():
        return path
    fetched = next(iter((fetched_models() / reference).glob(f"{BACKBONE}.*")), None)
    if fetched is None:
        raise UnavailableError(
            f"{reference}: this backbone has not been fetched.",
            f"Fetch it: slotcli models fetch {reference}. Or name a file of timm's or Meta's with "
            "--set train.backbone=FILE.",
        )
    return fetched
