"""A clip view as the JSON that the page's script reads."""

import base64
import json
from typing import Any

import numpy as np

from slotcli.report.clip_view import ClipView
from slotcli.report.slot_rows import object_colour
from slotcli.types import (
    FLAG_CORRUPT,
    FLAG_FORMAT_CHANGED,
    FLAG_RESET,
    FLAG_TIMING_REPAIRED,
)

_MOST_EVENTS = 400
_ABSENT = 65535  # of a position or an area in 16 bits
KINDS = {
    FLAG_CORRUPT: ("damaged", "damaged in the source"),
    FLAG_TIMING_REPAIRED: ("repaired", "time missing or out of order, estimated"),
    FLAG_FORMAT_CHANGED: ("changed", "another size or pixel format than the first frame"),
    FLAG_RESET: ("reset", "slots began anew and were matched to those before"),
}


def events(view: ClipView) -> list[dict[str, Any]]:
    """Damage, resets and switches by frame, in order; `at` counts the page's frames."""
    shown = np.array([frame.index for frame in view.frames])

    def at(index: int) -> int:
        return max(0, int(np.searchsorted(shown, index, "right")) - 1)

    events = [
        {
            "kind": KINDS[flag][0],
            "text": KINDS[flag][1],
            "id": None,
            "at": at(first),
            "frame": first,
            "last": last,
        }
        for first, last, flag in view.flags
        if flag in KINDS
    ]
    events += [
        {
            "kind": "switch",
            "text": f"what was object {own.before} is probably object {own.now} from here on",
            "id": own.now,
            "at": at(own.frame),
            "frame": own.frame,
            "last": own.frame,
        }
        for own in view.switches
    ]
    return sorted(events, key=lambda event: (event["frame"], event["kind"]))[:_MOST_EVENTS]


def clip_data(view: ClipView, video: str) -> str:
    """The JSON, safe inside an HTML script; `video` is the URL of the clip's video.

    Positions are 16 bits, [frame, object, 2], of the frame's width and height; labels are deflated,
    one after the other.
    """
    height, width = view.size
    frames = view.frames
    data = {
        "width": width,
        "height": height,
        "aspect": view.source_size[1] / view.source_size[0],
        "rate": float(view.rate),
        "ids": view.ids,
        "colours": [object_colour(own) for own in view.ids],
        "times": [round(frame.time, 4) for frame in frames],
        "indices": [frame.index for frame in frames],
        "pictures": [frame.picture for frame in frames],
        "area": _packed(np.stack([frame.area for frame in frames])),
        "centre": _packed(np.stack([frame.centre for frame in frames])),
        "number": _packed(np.stack([frame.number for frame in frames])),
        "lengths": [len(frame.labels) for frame in frames],
        "labels": base64.b64encode(b"".join(frame.labels for frame in frames)).decode(),
        "video": video,
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _packed(shares: np.ndarray) -> str:
    whole = np.where(np.isnan(shares), _ABSENT, np.ceil(np.nan_to_num(shares) * (_ABSENT - 1)))
    return base64.b64encode(whole.astype("<u2").tobytes()).decode()
