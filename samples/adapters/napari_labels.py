"""napari: the clip with its masks as a labels layer, scrubbed without loading the whole."""

import sys

import napari

import slotcli

result = slotcli.load(sys.argv[1])  # slotcli-out/clip.mp4
viewer = napari.Viewer(show="--hidden" not in sys.argv)
viewer.add_image(result.frames(), name="clip", rgb=True)  # [t, h, w, 3]
viewer.add_labels(result.masks, name="objects")  # [t, h, w]: 0 background, slot + 1
if "--hidden" not in sys.argv:
    napari.run()
