"""The commands of slotcli, each imported when it is used."""

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from slotcli.commands.command_line import Command, Group, write_sentences
from slotcli.commands.global_options import add_global_options, global_options

if TYPE_CHECKING:
    from typer import Context

# The first sentence of each command's help. `slotcli --help` shows them without importing the
# commands, which would take half its time; tests compare the two.
SENTENCES = {
    "decompose": (
        "Find the objects in videos: mask tracks, slots, an overlay and a report per clip."
    ),
    "reconstruct": "Render a clip from its slots, at the source's size and timing.",
    "edit": (
        "Change the objects of a result: a new slot file, which keeps the history of its edits."
    ),
    "export": "Write the masks of a result in other formats, without a model.",
    "pretrain": "Train a codec (VQ-VAE or dVAE), which a slot model needs first.",
    "train": "Train a slot model on a trained, frozen codec, or on pixels.",
    "adapt": (
        "Fine-tune a model on your own clips without labels; keep it only if its audit improves."
    ),
    "evaluate": (
        "Score a model against true masks, or results against outlines, beside trivial baselines."
    ),
    "audit": "Judge without labels whether a model, or a result, finds objects.",
    "probe": (
        "Measure what linear and small MLP readouts predict from slots, beside trivial baselines."
    ),
    "report": "Write report.html again: the curves of a training run, or the overlay of a result.",
    "info": "Describe a video, a result, a slot file, a training run or a model.",
    "doctor": (
        "Show versions, device, disk and models, and test every operation against its reference."
    ),
    "data": "Render, index, check and convert data sets.",
    "models": "List, show, fetch, import and pack models.",
    "config": "Write, show and check model definitions.",
    "bench": "Measure speed and memory on this machine.",
}


class Program(Group):
    """The group of all commands; each of SENTENCES is in a module of its name."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()
        self.params.extend(global_options())

    def list_commands(self, ctx: "Context") -> list[str]:
        return list(SENTENCES)

    def format_commands(self, ctx: "Context", formatter: Any) -> None:
        write_sentences(list(SENTENCES.items()), formatter)


class _Commands(MutableMapping[str, Any]):
    """Command by name; a command is imported and built when it is first read."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            if name not in SENTENCES:
                raise KeyError(name)
            self[name] = _built(name)
        return self._built[name]

    def __setitem__(self, name: str, command: Any) -> None:
        add_global_options(command)
        self._built[name] = command

    def __delitem__(self, name: str) -> None:
        del self._built[name]

    def __iter__(self) -> Iterator[str]:
        return iter(SENTENCES)

    def __len__(self) -> int:
        return len(SENTENCES)


def _built(name: str) -> Any:
    """The click command of a module: its function of that name, or its `app` of several."""
    module = import_module(f"slotcli.commands.{name}")
    if (app := getattr(module, "app", None)) is None:
        app = typer.Typer(add_completion=False)
        app.command(cls=Command)(getattr(module, name))
    command = typer.main.get_command(app)
    command.name = name
    return command
