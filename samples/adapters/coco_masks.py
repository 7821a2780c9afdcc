"""pycocotools: the exported annotations, and the mask of one of them as pixels."""

import sys

from PIL import Image
from pycocotools.coco import COCO

import slotcli

result = slotcli.load(sys.argv[1])  # slotcli-out/clip.mp4
result.export("coco", "coco", frames=True)  # coco.json, and the images that it names
coco = COCO("coco/coco.json")
largest = max(coco.anns.values(), key=lambda own: own["area"])
mask = coco.annToMask(largest)  # [h, w], 0 and 1
frame = Image.open("coco/" + coco.imgs[largest["image_id"]]["file_name"])
cut = Image.composite(frame, Image.new("RGB", frame.size), Image.fromarray(255 * mask))
cut.save("largest.png")
