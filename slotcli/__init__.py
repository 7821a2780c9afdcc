"""Objects, mask tracks and slot vectors from unannotated videos.

    import slotcli

    result = slotcli.decompose("clip.mp4")       # or slotcli.load("slotcli-out/clip.mp4")
    result.masks[0]                              # labels, uint8 [h, w]
    slotcli.reconstruct(result, drop=[2])[0]     # a frame without an object, uint8 [h, w, 3]
    slotcli.edit(result, move={2: (40, -10)})    # another result, in which an object is elsewhere

Failures are exceptions of slotcli.errors, whose messages name options as the command line does:
`--max-frames` is `max_frames` here.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Imported when first used, because each of them loads torch. Their types are in __init__.pyi: an
# import here would be one of every room that reads the version.
_MODULES = {
    "Result": "slotcli.results.result",
    "decompose": "slotcli.decomposition.one_clip",
    "edit": "slotcli.editing.edit",
    "load": "slotcli.results.result",
    "reconstruct": "slotcli.results.rendering",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'slotcli' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
