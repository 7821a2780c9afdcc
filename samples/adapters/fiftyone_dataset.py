"""FiftyOne: a data set of the frames with their instances."""

import sys

import fiftyone as fo

import slotcli

slotcli.load(sys.argv[1]).export("coco", "coco", frames=True)  # slotcli-out/clip.mp4
dataset = fo.Dataset.from_dir(
    dataset_type=fo.types.COCODetectionDataset,
    data_path="coco",
    labels_path="coco/coco.json",
    label_types="segmentations",
)
print(dataset)
if "--hidden" not in sys.argv:
    fo.launch_app(dataset).wait()
