"""Objects in words and drawings for the page of a result."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from slotcli.report.clip_view import ClipView
from slotcli.report.palette import slot_colours
from slotcli.tracks.statistics import SlotSummary

CHART = (240, 36)  # width and height of an area chart's coordinates
_ALWAYS = 0.995  # fraction of frames that reads as all
BACKGROUND_COLOUR = "#8b949e"


@dataclass(frozen=True)
class SlotRow:
    """An object on the page; `area` is an SVG path in CHART, `runs` are (first, length) of frames.

    `seen`, `size` and `motion` are sentences. `thumbnail` is a data URL.
    """

    id: int
    name: str
    colour: str
    seen: str
    size: str
    motion: str
    certainty: str
    mean_colour: str | None
    area: str
    largest: str
    runs: list[tuple[int, int]]
    thumbnail: str | None


def slot_rows(summaries: Sequence[SlotSummary], view: ClipView | None) -> list[SlotRow]:
    """Rows of the objects that won a pixel, the largest first, the background last."""
    seen = [slot for slot in summaries if slot.frames_present]
    seen.sort(key=lambda slot: (slot.is_background, -slot.mean_area * slot.frames_present, slot.id))
    return [_row(slot, view) for slot in seen]


def unused_sentence(summaries: Sequence[SlotSummary]) -> str:
    """Names the objects that never won a pixel; empty if there are none."""
    unused = [str(slot.id) for slot in summaries if not slot.frames_present]
    if not unused:
        return ""
    if len(unused) == 1:
        return f"Slot {unused[0]} never won a pixel."
    return f"Slots {', '.join(unused[:-1])} and {unused[-1]} never won a pixel."


def format_time(seconds: float | int) -> str:
    """Formats seconds as 0:07.250 or 1:02:07.250, with a minus if negative."""
    sign = "-" if seconds < 0 else ""
    milliseconds = round(abs(seconds) * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest = f"{milliseconds // 1000:02d}.{milliseconds % 1000:03d}"
    return f"{sign}{hours}:{minutes:02d}:{rest}" if hours else f"{sign}{minutes}:{rest}"


def short_clock(seconds: float | int) -> str:
    """Formats seconds as 0:07.2 or 1:02:07, as far as people need."""
    text = format_time(round(seconds, 1))
    return text[:-4] if text.count(":") == 2 else text[:-2]


def object_colour(label: int) -> str:
    """The colour of an object on the page, as #rrggbb; a gray for the background."""
    return BACKGROUND_COLOUR if label == 0 else _hex(slot_colours()[label].tolist())


def percent(share: float | int) -> str:
    """A fraction as a percentage, with as many digits as it has meaning."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _row(slot: SlotSummary, view: ClipView | None) -> SlotRow:
    areas = _areas(slot.id, view)
    picture = None if view is None else view.thumbnails.get(slot.id)
    sure = slot.mean_confidence
    return SlotRow(
        id=slot.id,
        name="Background" if slot.is_background else f"Object {slot.id}",
        colour=object_colour(slot.id),
        seen=_seen(slot),
        size=f"{percent(slot.mean_visible_fraction)} of the picture",
        motion="" if slot.is_background else _motion(slot),
        certainty="" if sure is None else f"{100 * sure:.0f} % sure of its pixels",
        mean_colour=None if slot.mean_colour is None else _hex(slot.mean_colour),
        area=_area_path(areas),
        largest=percent(float(areas.max(initial=0))),
        runs=_runs(areas > 0),
        thumbnail=None if picture is None else data_url("image/jpeg", picture),
    )


def _hex(colour: Sequence[int]) -> str:
    return "#" + bytes(colour).hex()


def data_url(kind: str, content: bytes) -> str:
    """Content as a data URL of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _seen(slot: SlotSummary) -> str:
    assert slot.first_time is not None
    assert slot.last_time is not None
    first, last = short_clock(slot.first_time), short_clock(slot.last_time)
    if slot.share_present >= _ALWAYS:
        return "In every frame" if slot.frames_present > 1 else "In the only frame"
    if slot.frames_present == 1:
        return f"In one frame, at {first}"
    return f"From {first} to {last}, in {100 * slot.share_present:.0f} % of the frames"


def _motion(slot: SlotSummary) -> str:
    steps = slot.frames_present - 1
    if steps < 1:
        return "Seen too shortly to move"
    if slot.path_length / steps < 0.5:
        return "Hardly moves"
    return f"Its centre travels {slot.path_length:.0f} px"


def _areas(label: int, view: ClipView | None) -> Float32[np.ndarray, " t"]:
    if view is None or label not in view.ids:
        return np.zeros(0, np.float32)
    row = view.ids.index(label)
    return np.array([frame.area[row] for frame in view.frames], np.float32)


def _area_path(areas: Float32[np.ndarray, " t"]) -> str:
    """A filled curve of the area over the frames, at most one point per unit of CHART's width."""
    width, height = CHART
    top = areas.max(initial=0)
    if not top:
        return ""
    edges = np.unique(np.linspace(0, len(areas), min(width, len(areas)) + 1).astype(int))
    means = np.add.reduceat(areas, edges[:-1]) / np.diff(edges)
    x = (edges[:-1] + edges[1:]) / 2 / len(areas) * width
    y = height - means / top * (height - 2)
    # The first and the last value reach the chart's ends.
    x, y = np.concatenate([[0], x, [width]]), np.concatenate([y[:1], y, y[-1:]])
    points = "L".join(f"{across:.1f} {down:.1f}" for across, down in zip(x, y, strict=True))
    return f"M0 {height}L{points}L{width} {height}Z"


def _runs(present: np.ndarray) -> list[tuple[int, int]]:
    """First frame and length of each run of frames."""
    change = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return [(int(first), int(end - first)) for first, end in change.reshape(-1, 2)]
