"""Options that several commands have, said once."""

from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; all cores by default.", min=1)]
Model = Annotated[
    str, typer.Option(help="A model's name, folder or weights file (slotcli models list).")
]
