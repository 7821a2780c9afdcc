"""Datumaro, with which CVAT imports: frames and instances in the folders where it looks."""

import sys
from pathlib import Path

from datumaro import Dataset

import slotcli

slotcli.load(sys.argv[1]).export("coco", "coco/images", frames=True)  # slotcli-out/clip.mp4
Path("coco/annotations").mkdir()
Path("coco/images/coco.json").rename("coco/annotations/instances_default.json")
dataset = Dataset.import_from("coco", "coco_instances")
print(dataset)
# CVAT: a task of the frames in coco/images, then "Upload annotations", COCO 1.0, the zipped coco.
