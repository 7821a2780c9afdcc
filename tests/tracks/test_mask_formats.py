"""Every format of masks, read by the programs that it is for."""

import json
import subprocess
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from labelled_clips import CLIPS, DURATION, NAME, PTS, source_pictures, written
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

# pycocotools 2.0 speaks to NumPy in the manner of before 2.0 when it decodes.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(params=CLIPS)
def labels(request):
    return CLIPS[request.param]


def objects_of(labels):
    """Without what is outside: formats of objects say nothing there."""
    return np.where(labels == 255, 0, labels)


def opened(path):
    with Image.open(path) as image:
        return image.mode, np.array(image)


def numbered(folder):
    """Label, frame and path of every picture in a folder of folders."""
    return [
        (int(path.parent.name), int(path.stem), path) for path in sorted(folder.glob("*/*.png"))
    ]


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return [
        int(columns.min()),
        int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    ]


def test_palette_pictures_in_pillow(tmp_path, labels):
    folder = written(tmp_path, "png", labels)
    for path, expected in zip(sorted(folder.iterdir()), labels, strict=True):
        mode, pixels = opened(path)
        assert mode == "P"
        np.testing.assert_array_equal(pixels, expected)


def test_black_and_white_pictures_in_pillow(tmp_path, labels):
    rebuilt = np.zeros_like(labels)
    for label, frame, path in numbered(written(tmp_path, "objects", labels)):
        mode, pixels = opened(path)
        assert mode == "1"
        assert pixels.any(), "an object that is absent has no file"
        rebuilt[frame][pixels] = label
    np.testing.assert_array_equal(rebuilt, objects_of(labels))


def test_cut_out_pictures_in_pillow(tmp_path, labels):
    source = source_pictures(labels)
    rebuilt = np.zeros_like(labels)
    files = numbered(written(tmp_path, "alpha", labels))
    for label, frame, path in files:
        mode, pixels = opened(path)
        assert mode == "RGBA"
        inside = pixels[..., 3] == 255
        np.testing.assert_array_equal(inside, labels[frame] == label)
        np.testing.assert_array_equal(pixels[inside][:, :3], source[frame][inside])
        assert not pixels[~inside].any()
        rebuilt[frame][inside] = label
    np.testing.assert_array_equal(rebuilt, objects_of(labels))
    # Sequences without gaps, of the objects that there are.
    seen = set(np.unique(labels).tolist()) - {0, 255}
    expected = {(label, frame) for label in seen for frame in range(len(labels))}
    assert {(label, frame) for label, frame, _ in files} == expected


def test_cut_out_pictures_need_pictures(tmp_path):
    from slotcli.tracks.formats.pictures import AlphaMaskWriter

    with (
        AlphaMaskWriter(tmp_path / "alpha", (4, 4)) as writer,
        pytest.raises(ValueError, match="picture"),
    ):
        writer.write(np.zeros((4, 4), np.uint8), 0, 1)


def test_cut_out_pictures_in_ffmpeg(tmp_path, ffmpeg):
    labels = CLIPS["moving"]
    folder = written(tmp_path, "alpha", labels)
    command = [ffmpeg, "-v", "error", "-i", folder / "7/%05d.png"]
    output = ["-f", "rawvideo", "-pix_fmt", "rgba", "-"]
    raw = subprocess.run([*command, *output], check=True, capture_output=True, timeout=60).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(*labels.shape, 4)
    np.testing.assert_array_equal(frames[..., 3], np.where(labels == 7, 255, 0))


def test_gray_video_in_ffmpeg(tmp_path, ffmpeg, labels):
    video = written(tmp_path, "ffv1", labels)
    command = [ffmpeg, "-v", "error", "-i", video, "-fps_mode", "passthrough"]
    output = ["-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = subprocess.run([*command, *output], check=True, capture_output=True, timeout=60).stdout
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8).reshape(labels.shape), labels)


def test_arrays_in_numpy_without_pickle(tmp_path, labels):
    with np.load(written(tmp_path, "npz", labels), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["labels"], labels)
        assert arrays["labels"].dtype == np.uint8
        count = len(labels)
        np.testing.assert_array_equal(arrays["pts"], PTS[:count])
        np.testing.assert_array_equal(arrays["duration"], DURATION[:count])
        assert arrays["time_base"].tolist() == [1, 12800]
        assert {arrays[name].dtype for name in ("pts", "duration")} == {np.dtype(np.int64)}


def test_coco_in_pycocotools(tmp_path, labels):
    with redirect_stdout(StringIO()):
        coco = COCO(written(tmp_path, "coco", labels))
    assert coco.getCatIds(catNms=["object"]) == [1]
    assert coco.getImgIds() == list(range(1, len(labels) + 1))
    rebuilt = np.zeros_like(labels)
    for image in coco.loadImgs(coco.getImgIds()):
        frame = image["frame_id"]
        assert (image["height"], image["width"]) == labels.shape[1:]
        assert image["pts"] == PTS[frame]
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]], iscrowd=False)):
            mask = coco.annToMask(annotation).astype(bool)
            assert annotation["area"] == mask.sum() > 0
            assert annotation["bbox"] == box_of(mask)
            assert annotation["attributes"] == {"track_id": annotation["track_id"]}
            rebuilt[frame][mask] = annotation["track_id"]
    np.testing.assert_array_equal(rebuilt, objects_of(labels))
    ids = coco.getAnnIds()
    assert ids == list(range(1, len(ids) + 1))


def test_youtube_vis_in_pycocotools(tmp_path, labels):
    content = json.loads(written(tmp_path, "ytvis", labels).read_bytes())
    (video,) = content["videos"]
    count, size = len(labels), labels.shape[1:]
    assert (video["length"], len(video["file_names"])) == (count, count)
    assert (video["height"], video["width"]) == size
    assert video["pts"] == PTS[:count]
    rebuilt = np.zeros_like(labels)
    for track in content["annotations"]:
        assert (track["video_id"], track["category_id"], track["iscrowd"]) == (video["id"], 1, 0)
        assert track["score"] == 1
        assert (track["length"], track["height"], track["width"]) == (count, *size)
        lists = track["segmentations"], track["bboxes"], track["areas"]
        for frame, (mask, box, area) in enumerate(zip(*lists, strict=True)):
            if not (labels[frame] == track["id"]).any():
                assert mask is box is area is None
                continue
            pixels = rle.decode(rle.frPyObjects(mask, *size)).astype(bool)
            assert area == pixels.sum()
            assert box == box_of(pixels)
            rebuilt[frame][pixels] = track["id"]
        assert len(lists[0]) == count
    np.testing.assert_array_equal(rebuilt, objects_of(labels))
    seen = sorted(set(np.unique(labels).tolist()) - {0, 255})
    assert [track["id"] for track in content["annotations"]] == seen


def test_mots_in_pycocotools(tmp_path, labels):
    rebuilt = np.zeros_like(labels)
    for line in written(tmp_path, "mots", labels).read_text().splitlines():
        frame, number, category, height, width, letters = line.split(" ")
        assert (int(height), int(width)) == labels.shape[1:]
        assert int(number) // 1000 == int(category) == 1
        pixels = rle.decode({"size": [int(height), int(width)], "counts": letters.encode()})
        assert pixels.any()
        rebuilt[int(frame)][pixels.astype(bool)] = int(number) % 1000
    np.testing.assert_array_equal(rebuilt, objects_of(labels))


@pytest.mark.parametrize("name", ["coco", "ytvis"])
def test_names_stay_names(tmp_path, name):
    def pictures(clip_name):
        content = json.loads(written(tmp_path, name, CLIPS["empty"], clip_name).read_bytes())
        if name == "coco":
            return [image["file_name"] for image in content["images"]]
        return content["videos"][0]["file_names"]

    assert pictures(NAME) == [f"{NAME}/{index:05d}.jpg" for index in range(3)]
    assert pictures("../../etc/a\\b")[0] == ".._.._etc_a_b/00000.jpg"
    assert pictures("..")[0] == pictures("")[0] == "clip/00000.jpg"
    assert pictures("\udcff\n")[0] == "\udcff\n/00000.jpg"
