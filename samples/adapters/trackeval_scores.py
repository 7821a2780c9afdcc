"""TrackEval: HOTA of one result's tracks, with those of another, such as a corrected one, as true.

The folders are those of KITTI MOTS, whose name for class 1 is car.
"""

import sys
from pathlib import Path

import trackeval

import slotcli

true, found = (slotcli.load(path) for path in sys.argv[1:3])  # slotcli-out/clip.mp4, twice
(mots,) = true.export("mots", "scores/true")
mots.rename("scores/true/clip.txt")
(mots,) = found.export("mots", "scores/found/ours/data")
mots.rename("scores/found/ours/data/clip.txt")
options = {"GT_FOLDER": "scores/true", "TRACKERS_FOLDER": "scores/found", "PRINT_CONFIG": False}
options |= {"CLASSES_TO_EVAL": ["car"], "SEQ_INFO": {"clip": len(true)}}
options |= {"GT_LOC_FORMAT": "{gt_folder}/{seq}.txt"}
quiet = {"PRINT_RESULTS": False, "PRINT_CONFIG": False, "OUTPUT_DETAILED": False}
quiet |= {"PLOT_CURVES": False, "TIME_PROGRESS": False}
results, _ = trackeval.Evaluator(quiet | {"OUTPUT_SUMMARY": False}).evaluate(
    [trackeval.datasets.KittiMOTS(options)], [trackeval.metrics.HOTA({"PRINT_CONFIG": False})]
)
hota = results["KittiMOTS"]["ours"]["COMBINED_SEQ"]["car"]["HOTA"]["HOTA"].mean()
Path("scores/hota.txt").write_text(f"{hota:.3f}\n")
