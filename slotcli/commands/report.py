"""slotcli report: the page of a training run or of a result, written again."""

from pathlib import Path
from typing import Annotated

import typer

from slotcli.commands import console
from slotcli.commands.options import INPUT, Opacity, Page
from slotcli.errors import NoInputError, UsageError, printable


def report(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="A run of train or pretrain, or a result folder."),
    ],
    video: Annotated[
        Path | None,
        typer.Option(
            help="The source clip of a result, if it has moved.",
            metavar="FILE",
            rich_help_panel=INPUT,
        ),
    ] = None,
    opacity: Opacity = None,
    page: Page = None,
) -> None:
    """Write report.html again: the curves of a training run, or the overlay of a result.

    Examples:
      slotcli report run
      slotcli report slotcli-out/tier-a.mp4 --opacity 0.6
      slotcli report slotcli-out/tier-a.mp4 --video samples/tier-a.mp4
    """
    console.phase("drawing the report")
    from slotcli.files.layout import RESULT, SLOT_FILE
    from slotcli.results.redraw import write_result_report
    from slotcli.training.log import LOG
    from slotcli.training.report import write_run_report

    if (folder / RESULT).is_file() and (folder / SLOT_FILE).is_file():
        with console.progress("drawing the report", "frames") as meter:
            written = write_result_report(folder, video, meter.update, opacity=opacity, kind=page)
    elif (folder / LOG).is_file():
        given = {"--video": video, "--opacity": opacity, "--page": page}
        for option, value in given.items():
            if value is not None:
                raise UsageError(
                    f"{option} is for results of decompose.", "Leave it out for a training run."
                )
        written = write_run_report(folder)
    else:
        raise NoInputError(
            f"{printable(folder)}: holds neither a training run nor a result.",
            f"Name a folder with {LOG} or {RESULT} in it.",
        )
    console.record({"folder": str(folder), "written": [path.name for path in written]})
    if not console.wants_json():
        console.result(f"{written[0]}")
