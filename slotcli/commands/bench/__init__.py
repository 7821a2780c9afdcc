"""slotcli bench: the speed of operations and models here, beside plain PyTorch."""

import typer

from slotcli.commands.bench import complexity, kernels, models
from slotcli.commands.command_line import Command, Group

app = typer.Typer(cls=Group, no_args_is_help=True, help="Measure speed and memory on this machine.")


@app.callback()
def bench() -> None:
    """Measure speed and memory on this machine."""


app.command(cls=Command)(complexity.complexity)
app.command(cls=Command)(kernels.kernels)
app.command(cls=Command)(models.decompose)
app.command(cls=Command)(models.reconstruct)
app.command(cls=Command)(models.train)
