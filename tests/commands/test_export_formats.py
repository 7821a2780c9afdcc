"""Slot files to every format through the command line: all rebuild the same pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_clips import TICK, UNEVEN, assert_refused, decoded, make_clip, make_images, tree
from PIL import Image
from pycocotools import mask as rle

from slotcli.tracks.formats.all_formats import PLACES
from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.tracks.transform import Transform
from slotcli.video.images import DEFAULT_IMAGE_RATE

# pycocotools 2.0 speaks to NumPy in the manner of before 2.0 when it decodes.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

NAME = 'clip "x" <b>.mp4'
ALL = [word for name in PLACES for word in ("--masks", name)]
SOURCE = (45, 61)


def slot_file(background=2, crop=(2, 3, 40, 57), num_slots=5, pts=UNEVEN, tick=TICK):
    """A slot file as decompose writes it, of random attention."""
    rng = np.random.default_rng(num_slots)
    count = len(pts)
    attention = rng.dirichlet(np.full(num_slots, 0.1), (count, 8, 8)).transpose(0, 3, 1, 2)
    return SlotFile(
        slots=rng.normal(size=(count, num_slots, 4)).astype(np.float32),
        attention=attention.astype(np.float16),
        pts=np.array(pts, np.int64),
        duration=np.diff(pts, append=pts[-1] + 512).astype(np.int64),
        frame_index=np.arange(count, dtype=np.int64),
        flags=np.zeros(count, np.uint8),
        metadata={
            "model": {},
            "source": {"name": NAME, "time_base": [tick.numerator, tick.denominator]},
            "transform": Transform(SOURCE, crop, (8, 8)).to_json(),
            "sampling": {},
            "run": {},
            "statistics": {"background": background},
        },
    )


@pytest.fixture
def export(cli, tmp_path):
    def run(content, *arguments):
        write_slot_file(tmp_path / "a.safetensors", content)
        return cli("export", "a.safetensors", "--out", "out", *arguments)

    return run


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("source") / NAME, len(UNEVEN), SOURCE, UNEVEN)


def opened(path):
    with Image.open(path) as image:
        return np.array(image)


def labels_of_folders(folder, shape, pixels_of):
    labels = np.zeros(shape, np.uint8)
    for path in folder.glob("*/*.png"):
        labels[int(path.stem)][pixels_of(opened(path))] = int(path.parent.name)
    return labels


def labels_of_json(content, shape):
    """Of COCO's and of YouTube-VIS's annotations."""
    labels = np.zeros(shape, np.uint8)
    for entry in content["annotations"]:
        if "image_id" in entry:
            masks = {entry["image_id"] - 1: entry["segmentation"]}
        else:
            masks = {frame: mask for frame, mask in enumerate(entry["segmentations"]) if mask}
        for frame, mask in masks.items():
            if isinstance(mask["counts"], list):
                mask = rle.frPyObjects(mask, *mask["size"])
            labels[frame][rle.decode(mask) > 0] = entry.get("track_id", entry["id"])
    return labels


def labels_of_lines(path, shape):
    labels = np.zeros(shape, np.uint8)
    for line in path.read_text().splitlines():
        frame, number, _, *size, letters = line.split()
        mask = rle.decode({"size": [int(side) for side in size], "counts": letters})
        labels[int(frame)][mask > 0] = int(number) - 1000
    return labels


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"background": None},
        {"crop": (0, 0, *SOURCE)},
        {"num_slots": 254, "background": 0},
        {"num_slots": 1, "background": 0},
        {"crop": (44, 60, 1, 1)},
    ],
    ids=["plain", "no background", "whole", "254 slots", "background alone", "one pixel"],
)
def test_every_format_has_the_pixels_of_the_palette(export, tmp_path, video, case):
    code, _, err = export(slot_file(**case), *ALL, "--video", video)
    assert code == 0, err
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(PLACES.values())
    palette = np.stack([opened(path) for path in sorted((out / "masks").iterdir())])
    shape = palette.shape
    assert shape == (len(UNEVEN), *SOURCE)
    with np.load(out / "masks.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["labels"], palette)
        np.testing.assert_array_equal(arrays["pts"], UNEVEN)
    np.testing.assert_array_equal(decoded(out / "masks.mkv")[0][..., 0], palette)
    objects = np.where(palette == 255, 0, palette)
    coco = json.loads((out / "coco.json").read_bytes())
    youtube = json.loads((out / "ytvis.json").read_bytes())
    for rebuilt in (
        labels_of_folders(out / "objects", shape, lambda pixels: pixels),
        labels_of_folders(out / "alpha", shape, lambda pixels: pixels[..., 3] == 255),
        labels_of_json(coco, shape),
        labels_of_json(youtube, shape),
        labels_of_lines(out / "mots.txt", shape),
    ):
        np.testing.assert_array_equal(rebuilt, objects)
    assert youtube["videos"][0]["file_names"][7] == coco["images"][7]["file_name"]
    assert coco["images"][7]["file_name"] == f"{NAME}/00007.jpg"


def test_objects_are_cut_out_of_their_own_frame(export, tmp_path, video):
    """Every second frame was decomposed: pictures have to follow."""
    every = slot_file()
    fields = ("slots", "attention", "pts", "duration", "frame_index", "flags")
    second = replace(every, **{name: getattr(every, name)[1::2] for name in fields})
    assert export(second, "--masks", "alpha", "--video", video)[0] == 0
    frames, _ = decoded(video)
    files = sorted((tmp_path / "out/alpha").glob("*/*.png"))
    assert {int(path.stem) for path in files} == {0, 1, 2, 3}
    seen = 0
    for path in files:
        pixels = opened(path)
        inside = pixels[..., 3] == 255
        away = pixels[inside][:, :3].astype(int) - frames[2 * int(path.stem) + 1][inside]
        assert np.abs(away).max(initial=0) <= 2  # two ways from the decoder's YUV to RGB
        seen += inside.sum()
    assert seen > 4000


def test_objects_are_cut_out_of_image_folders(export, tmp_path):
    folder = make_images(tmp_path / "images", 3, SOURCE)
    content = slot_file(pts=[0, 1, 2], tick=1 / DEFAULT_IMAGE_RATE)
    code, _, err = export(content, "--masks", "alpha", "--video", folder)
    assert code == 0, err
    for path in (tmp_path / "out/alpha").glob("*/*.png"):
        pixels = opened(path)
        inside = pixels[..., 3] == 255
        source = opened(folder / f"{int(path.stem)}.png")
        np.testing.assert_array_equal(pixels[inside][:, :3], source[inside])


def test_only_the_video_of_an_excerpt_begins_at_0(export, tmp_path):
    content = slot_file()
    content.metadata["sampling"]["start"] = 0.05
    assert export(content, "--masks", "ffv1", "--masks", "npz", "--masks", "coco")[0] == 0
    _, times = decoded(tmp_path / "out/masks.mkv")
    away = [time - (pts - UNEVEN[0]) * TICK for time, pts in zip(times, UNEVEN, strict=True)]
    assert max(map(abs, away)) <= 0.0005  # Matroska counts milliseconds
    assert times[0] == 0
    with np.load(tmp_path / "out/masks.npz") as arrays:
        np.testing.assert_array_equal(arrays["pts"], UNEVEN)
    images = json.loads((tmp_path / "out/coco.json").read_bytes())["images"]
    assert [image["pts"] for image in images] == UNEVEN


def test_what_cannot_be_cut_out(export, tmp_path, video):
    small = make_clip(tmp_path / "small.mp4", len(UNEVEN), (44, 60), UNEVEN)
    short = make_clip(tmp_path / "short.mp4", len(UNEVEN) - 1, SOURCE, UNEVEN)
    later = make_clip(tmp_path / "later.mp4", len(UNEVEN), SOURCE, [t + 512 for t in UNEVEN])
    (tmp_path / "text.mp4").write_text("no video")
    write_slot_file(tmp_path / "a.safetensors", slot_file())
    before = tree(tmp_path)
    for arguments, expected in [
        (["--masks", "alpha"], 2),
        (["--masks", "png", "--video", video], 2),
        (["--masks", "alpha", "--video", "absent.mp4"], 66),
        (["--masks", "alpha", "--video", tmp_path / "text.mp4"], 65),
        (["--masks", "alpha", "--video", small], 65),
        (["--masks", "alpha", "--video", short], 65),
        (["--masks", "alpha", "--video", later], 65),
    ]:
        code, out, err = export(slot_file(), *arguments)
        assert code == expected, (arguments, err)
        assert_refused(err)
        assert out == ""
        assert tree(tmp_path) == before


@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_is_taken_stays_as_it_is(export, tmp_path, video, name):
    (tmp_path / "out" / PLACES[name]).mkdir(parents=True)
    given = ["--masks", name, *(["--video", video] if name == "alpha" else [])]
    code, _, err = export(slot_file(), *given)
    assert code == 73
    assert_refused(err)
    assert [path.name for path in (tmp_path / "out").rglob("*")] == [PLACES[name]]


def test_names_from_hostile_slot_files(export, tmp_path):
    for name, expected in [("../../x", ".._.._x"), (["a"], "['a']"), ("\x1b[31m", "\\x1b[31m")]:
        content = slot_file()
        content.metadata["source"]["name"] = name
        assert export(content, "--masks", "coco")[0] == 0
        path = tmp_path / "out/coco.json"
        images = json.loads(path.read_bytes())["images"]
        # A backslash is a folder on some systems.
        assert images[0]["file_name"] == f"{expected}/00000.jpg".replace("\\", "_")
        path.unlink()
