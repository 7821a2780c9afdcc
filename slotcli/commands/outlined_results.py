"""Scores results against hand-drawn outlines, for `slotcli evaluate`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slotcli.commands import console
from slotcli.errors import NoInputError, SlotcliError, UsageError, printable

if TYPE_CHECKING:
    from slotcli.evaluation.outlines import Things, ThingScore
    from slotcli.evaluation.result_audit import StoredResult

SCHEMA = "slotcli.outlines/1"
LARGE = 0.1  # of the frame; objects at least this large have a mean of their own too
_MODEL = "model"


def evaluate_outlines(results: Sequence[Path], outlines: Path) -> None:
    """Score the results of the clips that are outlined, and trivial baselines of the same frames.

    Raises UsageError for results of several models, NoInputError where no outlined clip has one.
    """
    from slotcli.evaluation.outlines import read_outlines
    from slotcli.results.find import find_results

    outlined = read_outlines(outlines)
    by_clip: dict[str, StoredResult] = {}
    for result in find_results(list(results)):
        if result.source is not None:
            by_clip.setdefault(result.source.name, result)
    missing = [clip for clip in outlined if clip not in by_clip]
    if len(missing) == len(outlined):
        raise NoInputError(
            f"No result is of a clip that {printable(outlines)} outlines.",
            f"Decompose {', '.join(missing)}.",
        )
    scores: dict[str, list[tuple[str, ThingScore]]] = {}
    makers = set[tuple[str, str]]()
    with console.progress("scoring results", "clips") as meter:
        for number, (clip, frames) in enumerate(outlined.items(), start=1):
            if clip not in missing:
                makers.add(_score(by_clip[clip], clip, frames, scores))
            meter.update(number, len(outlined))
    if len(makers) > 1:
        raise UsageError(
            f"The results are of several models: {', '.join(sorted(name for name, _ in makers))}.",
            "Evaluate the results of each model by themselves.",
        )
    [(model, weights)] = makers
    for clip in missing:
        console.warn(f"{clip} is outlined, but there is no result of it.")
    means = {maker: _means([score for _, score in each]) for maker, each in scores.items()}
    console.record(
        {
            "schema": SCHEMA,
            "model": {"name": model, "weights_sha256": weights},
            "outlines": str(outlines),
            "things": [{"clip": clip, **asdict(score)} for clip, score in scores[_MODEL]],
            "means": means,
            "clips_without_result": missing,
        }
    )
    if not console.wants_json():
        _show(model, scores[_MODEL], means)


def _score(
    result: "StoredResult",
    clip: str,
    frames: "dict[int, Things]",
    scores: "dict[str, list[tuple[str, ThingScore]]]",
) -> tuple[str, str]:
    """Adds the scores of a clip's objects by who found them; returns the model of the result."""
    from slotcli.evaluation.outlines import baseline_labels, labels_of_frames, thing_scores
    from slotcli.tracks.slot_file import read_slot_file

    stored = read_slot_file(result.slots)
    try:
        masks = labels_of_frames(_masks(result.slots.parent), stored.frame_index.tolist())
        by_maker = {_MODEL: list(thing_scores(frames, masks))}
        assert result.source is not None
        trivial = baseline_labels(result.source, list(frames), stored.slots.shape[1])
        by_maker |= {name: list(thing_scores(frames, labels)) for name, labels in trivial.items()}
    except SlotcliError as error:
        error.what = f"{clip}: {error.what}"
        raise
    for maker, things in by_maker.items():
        scores.setdefault(maker, []).extend((clip, each) for each in things)
    facts = stored.metadata["model"]
    return str(facts.get("name")), str(facts.get("weights_sha256"))


def _masks(folder: Path) -> Path:
    from slotcli.tracks.formats.all_formats import PLACES

    for name in (PLACES["png"], PLACES["ffv1"]):
        if (folder / name).exists():
            return folder / name
    raise NoInputError(
        f"{printable(folder)} has no masks.", "Export them there: slotcli export --masks png."
    )


def _means(things: "Sequence[ThingScore]") -> dict[str, Any]:
    """Means over all objects, and over those of a tenth of the frame or more; None over none."""
    large = [score for score in things if score.area >= LARGE]
    return {
        "things": len(things),
        "track": _mean([score.track for score in things]),
        "frame": _mean([score.frame for score in things]),
        "large_things": len(large),
        "large_track": _mean([score.track for score in large]),
        "large_frame": _mean([score.frame for score in large]),
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _show(
    model: str, things: "Sequence[tuple[str, ThingScore]]", means: dict[str, dict[str, Any]]
) -> None:
    console.result(
        "Intersection over union with the outlines, in percent. Track: of the one label that fits "
        "a thing best in all of its frames; frame: of the best label of each."
    )
    rows = [
        [f"{clip}: {score.thing}", *map(_percent, (score.area, score.track, score.frame))]
        for clip, score in things
    ]
    console.table("", ["", "area", "track", "frame"], rows)
    first = means[_MODEL]
    console.result(
        f"Means over {first['things']} things, and over the {first['large_things']} that fill a "
        "tenth of the frame or more:"
    )
    columns = ("track", "frame", "large_track", "large_frame")
    console.table(
        "",
        ["", "track", "frame", "track, large", "frame, large"],
        [
            [model if maker == _MODEL else maker, *(_percent(mean[name]) for name in columns)]
            for maker, mean in means.items()
        ],
    )


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
