from slotcli.decomposition.one_clip import decompose as decompose
from slotcli.editing.edit import edit as edit
from slotcli.results.rendering import reconstruct as reconstruct
from slotcli.results.result import Result as Result
from slotcli.results.result import load as load

__version__: str
__all__ = ["Result", "__version__", "decompose", "edit", "load", "reconstruct"]
