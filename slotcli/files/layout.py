"""The names of the files in a result's folder, and of the default model."""

SLOT_FILE = "clip.slots.safetensors"
RESULT = "result.json"  # written last: it marks a result as complete
PAGE = "report.html"
PAGE_VIDEO = "report-clip.mp4"  # of a linked page
PAGE_DATA = "report-clip.js"
OVERLAY = "overlay.mp4"
STRIP = "strip.png"
TRACKS_CSV = "tracks.csv"
TRACKS = "tracks.json"

DEFAULT_MODEL = "things-128"  # of the command line and of Python
