"""slotcli bench: what things cost here, and what our form of them gains over the plain one."""

import typer

from slotcli.commands.bench import complexity, kernels, models

app = typer.Typer(no_args_is_help=True, help="Measure what things cost on this machine.")


@app.callback()
def bench() -> None:
    """Measure what things cost on this machine."""


app.command()(complexity.complexity)
app.command()(kernels.kernels)
app.command()(models.decompose)
app.command()(models.reconstruct)
app.command()(models.train)
