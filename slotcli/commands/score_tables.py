"""Tables of scores with their intervals."""

from typing import TYPE_CHECKING

from slotcli.commands import console

if TYPE_CHECKING:
    from slotcli.evaluation.intervals import MeanInterval
    from slotcli.evaluation.protocol import Protocol
    from slotcli.evaluation.score_record import Table
    from slotcli.evaluation.segmenter import Argmax


_WAYS = {
    "after": "after upsampling",
    "before": "before upsampling",
    "guided": "after upsampling along edges",
}


def show_evaluation(
    tables: "dict[str, Table]", argmax: "Argmax", *, drawn: int, frames: int
) -> None:
    """Prints the tables of `score_record`; `drawn` clips were rendered, `frames` frames of each."""
    from slotcli.evaluation.score_record import PICTURES, SEGMENTATION

    console.result(
        f"Mean ± half of its 95 % interval, in percent; labels by argmax {_WAYS[argmax]}."
    )
    console.result("Per video, time folded into space:")
    show_scores(tables["segmentation"], SEGMENTATION, 100)
    _tell_identity(tables["segmentation"])
    console.result("Per frame, each scored alone:")
    show_scores(tables["segmentation_per_frame"], SEGMENTATION, 100)
    if drawn:
        console.result(
            f"Renderings of {drawn} clips from their slots, at most {frames} frames each."
        )
        console.result("PSNR in dB; LPIPS and MSE (summed over a frame) are better when lower:")
        show_scores(tables["pictures"], PICTURES, 1)


def show_protocol(protocol: "Protocol", table: "Table") -> None:
    """Prints the table of a protocol."""
    from slotcli.evaluation.protocol import PROTOCOL_SCORES

    height, width = protocol.masks
    videos = "whole clips" if protocol.chunk is None else f"chunks of {protocol.chunk} frames"
    console.result(
        f"By the protocol {protocol.name}, as its authors evaluate: central squares, masks at "
        f"{width}x{height}, {videos}:"
    )
    show_scores(table, PROTOCOL_SCORES, 100)


def show_scores(
    rows: "dict[str, dict[str, MeanInterval]]", columns: dict[str, str], scale: int
) -> None:
    """Prints a row for each of a model and its baselines, values times `scale`."""
    console.table(
        "",
        ["", *columns.values()],
        [[row, *(_cell(scores[name], scale) for name in columns)] for row, scores in rows.items()],
    )


def _cell(value: "MeanInterval", scale: int) -> str:
    if value.mean is None:
        return "-"
    digits = 1 if abs(value.mean * scale) >= 2 or scale > 1 else 3
    mean = f"{value.mean * scale:.{digits}f}"
    if value.low is None or value.high is None:
        return mean
    half = (value.high - value.low) / 2 * scale
    return f"{mean} ±{half:.{digits if half < 9.95 else 0}f}"


def _tell_identity(rows: "dict[str, dict[str, MeanInterval]]") -> None:
    """Prints the fraction of objects that keep their label, of the first row and the best other."""
    (_, own), *others = ((row, scores["identity"]) for row, scores in rows.items())
    known = [(value.mean, row, value) for row, value in others if value.mean is not None]
    if own.mean is not None:
        _, row, best = max(known, key=lambda one: one[0])
        console.result(
            f"Objects with one label in the first and last frame: {_cell(own, 100)} % "
            f"({row}: {_cell(best, 100)} %)."
        )
