"""supervision: each frame's objects as Detections with their track IDs, drawn into images."""

import sys
from pathlib import Path

import numpy as np
import supervision as sv
from PIL import Image

import slotcli

result = slotcli.load(sys.argv[1])  # slotcli-out/clip.mp4
masked = sv.MaskAnnotator(color_lookup=sv.ColorLookup.TRACK)
boxed = sv.BoxAnnotator(color_lookup=sv.ColorLookup.TRACK, thickness=1)
Path("drawn").mkdir()
for t, (frame, labels) in enumerate(zip(result.frames(), result.masks, strict=True)):
    ids = np.setdiff1d(labels, [0, 255])  # without the background and what is outside of the crop
    masks = labels == ids[:, None, None]
    found = sv.Detections(xyxy=sv.mask_to_xyxy(masks), mask=masks, tracker_id=ids.astype(int))
    Image.fromarray(boxed.annotate(masked.annotate(frame.copy(), found), found)).save(
        f"drawn/{t:05d}.png"
    )
