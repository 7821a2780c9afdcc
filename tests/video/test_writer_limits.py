"""What a writer meets in real clips: every size, every distance in time, encoders that refuse."""

import errno
import json
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import moving_frames, read

from slotcli.errors import OutputError, UnavailableError
from slotcli.report.overlay import MAX_SIDE as SHOWN_SIDE
from slotcli.report.overlay import OverlayWriter
from slotcli.tracks.formats.all_formats import PLACES, open_mask_writers
from slotcli.tracks.formats.masked_clip import MaskedClip
from slotcli.tracks.masks import read_masks
from slotcli.video.timing import LATEST_SECONDS
from slotcli.video.writer import MAX_TICKS, VideoWriter

TENTH = Fraction(1, 10)
# Heights and widths.
SIZES = [
    (1, 1),
    (64, 1),
    (1, 64),
    (17, 33),
    (288, 352),
    (289, 352),
    (360, 640),
    (1080, 1920),
    (2160, 3840),
    (16, 8191),
    (8191, 1),
    (1, 8191),
    (2, 8191),
]


def labels_of(size: tuple[int, int]) -> np.ndarray:
    """Two frames, or one where they are large, of labels 0 to 2 in a few blocks."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    rows, columns = y * 7 // size[0], x * 11 // size[1]
    count = 1 if size[0] * size[1] > 10**6 else 2
    return np.stack([(rows + columns + step + 1) % 3 for step in range(count)]).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_masks_of_every_format_at_every_size(tmp_path, size):
    labels = labels_of(size)
    picture = np.full((*size, 3), 90, np.uint8)
    with ExitStack() as files:
        clip = MaskedClip("c.mp4", size, TENTH)
        writers = open_mask_writers(tuple(PLACES), tmp_path, clip, files)
        for pts, frame in enumerate(labels):
            for writer in writers:
                writer.write(frame, pts, 1, picture)
    np.testing.assert_array_equal(list(read_masks(tmp_path / PLACES["ffv1"])), labels)
    np.testing.assert_array_equal(list(read_masks(tmp_path / PLACES["png"])), labels)
    with np.load(tmp_path / PLACES["npz"]) as archive:
        np.testing.assert_array_equal(archive["labels"], labels)
    for name in ("coco", "ytvis"):
        assert json.loads((tmp_path / PLACES[name]).read_text())["annotations"]
    for label in np.unique(labels[labels > 0]):
        for name in ("objects", "alpha"):
            first = sorted((tmp_path / PLACES[name] / str(label)).iterdir())[0]
            with Image.open(first) as image:
                assert image.size == (size[1], size[0])
    assert (tmp_path / PLACES["mots"]).exists()


def opened_and_dropped(path: Path, size: tuple[int, int]) -> None:
    with VideoWriter(path, size, TENTH, codec="ffv1-gray"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("size", [(8191, 8191), (3, 8191), (4096, 16384), (16000, 16000)])
def test_the_encoder_takes_masks_of_the_largest_sizes(tmp_path, size):
    """It checks sizes before it is given a frame."""
    with pytest.raises(KeyboardInterrupt):
        opened_and_dropped(tmp_path / "m.mkv", size)


@pytest.mark.parametrize("size", SIZES)
def test_overlay_at_every_size(tmp_path, size):
    frame, labels = np.full((*size, 3), 90, np.uint8), labels_of(size)
    with OverlayWriter(tmp_path / "o.mp4", size, TENTH, 0.5) as overlay:
        for pts, shown in enumerate(labels):
            overlay.write(frame, shown, pts, 1)
    chunk, reader = read(tmp_path / "o.mp4")
    assert len(chunk) == len(labels)
    assert reader.info.pixel_format == "yuv420p"
    assert max(reader.info.size) <= SHOWN_SIDE
    assert overlay.remarks == []


@pytest.mark.parametrize("size", SIZES)
def test_h264_at_every_size(tmp_path, size):
    """What reconstruct and data synth write."""
    with VideoWriter(tmp_path / "c.mp4", size, TENTH, codec="h264") as writer:
        writer.write(np.full((*size, 3), 90, np.uint8), 0, 1)
    chunk, _ = read(tmp_path / "c.mp4")
    assert chunk.frames.shape == (1, *size, 3)
    assert np.abs(chunk.frames[0].astype(int) - 90).max() <= 3
    assert writer.remarks == []


@pytest.mark.parametrize(("size", "held"), [((1, 20000), (1, 16384)), ((40000, 4), (16384, 2))])
def test_what_h264_cannot_hold_is_scaled_and_told(tmp_path, size, held):
    with VideoWriter(tmp_path / "c.mp4", size, TENTH, codec="h264-quick") as writer:
        writer.write(np.full((*size, 3), 90, np.uint8), 0, 1)
    chunk, _ = read(tmp_path / "c.mp4")
    assert chunk.frames.shape[1:3] == held
    (remark,) = writer.remarks
    assert f"{held[1]} x {held[0]} pixels" in remark


@pytest.mark.parametrize("time_base", [Fraction(1, 90000), Fraction(1, 10**9), Fraction(1, 2**40)])
@pytest.mark.parametrize("codec", ["h264", "h264-quick"])
def test_a_frame_of_hours_is_shown_for_a_second(tmp_path, time_base, codec):
    far = 80000 * time_base.denominator
    tick = time_base.denominator // 10
    times = [0, tick, far, far + tick, 2 * far]
    with VideoWriter(tmp_path / "c.mp4", (16, 16), time_base, codec=codec) as writer:
        for pts, after in zip(times, [*times[1:], 3 * far], strict=True):
            writer.write(moving_frames(1, (16, 16))[0], pts, after - pts)
    chunk, reader = read(tmp_path / "c.mp4")
    seconds = [float(t * reader.info.time_base) for t in chunk.pts]
    assert seconds == pytest.approx([0, 0.1, 1.1, 1.2, 2.2], abs=1e-4)
    assert float(chunk.duration[-1] * reader.info.time_base) == pytest.approx(1)
    (remark,) = writer.remarks
    assert "2 of its frames" in remark


def test_the_longest_frame_that_mp4_holds_is_kept(tmp_path):
    with VideoWriter(tmp_path / "c.mp4", (16, 16), Fraction(1, 90000), codec="h264") as writer:
        for pts, duration in ((0, MAX_TICKS), (MAX_TICKS, MAX_TICKS)):
            writer.write(moving_frames(1, (16, 16))[0], pts, duration)
    chunk, _ = read(tmp_path / "c.mp4")
    assert chunk.pts.tolist() == [0, MAX_TICKS]
    assert writer.remarks == []


@pytest.mark.parametrize("times", [[0, 1, 2, 3 * 10**9], [-(10**9) - 1, 0, 1, 2]])
def test_times_finer_than_a_microsecond_are_rounded_and_stay_in_order(tmp_path, times):
    with VideoWriter(tmp_path / "c.mp4", (16, 16), Fraction(1, 10**9), codec="h264") as writer:
        for pts in times:
            writer.write(moving_frames(1, (16, 16))[0], pts, 1)
    chunk, reader = read(tmp_path / "c.mp4")
    seconds = [float(t * reader.info.time_base) for t in chunk.pts]
    wanted = [(t - min(times[0], 0)) / 1e9 for t in times]
    assert np.abs(np.subtract(seconds, wanted)).max() <= 4e-6
    assert (np.diff(chunk.pts) > 0).all()


def test_masks_keep_any_time_that_a_clip_may_have(tmp_path):
    times = [0, 1, 80000 * 90000, (LATEST_SECONDS - 1) * 90000]
    labels = labels_of((4, 8))
    with VideoWriter(tmp_path / "m.mkv", (4, 8), Fraction(1, 90000), codec="ffv1-gray") as writer:
        for index, pts in enumerate(times):
            writer.write(labels[index % 2], pts, 10**6)
    with av.open(str(tmp_path / "m.mkv")) as container:
        seconds = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert seconds == pytest.approx([pts / 90000 for pts in times], abs=0.0025)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSYS, UnavailableError),
        (errno.EINVAL, UnavailableError),
        (errno.ENOSPC, OutputError),
        (errno.EIO, OutputError),
    ],
)
def test_the_disk_is_blamed_for_what_is_the_disks(tmp_path, number, kind):
    def refuse(_: object) -> None:
        av.error.err_check(-number)

    def write() -> None:
        with VideoWriter(tmp_path / "c.mp4", (16, 16), TENTH, codec="h264") as writer:
            writer._mux = refuse
            writer.write(np.zeros((16, 16, 3), np.uint8), 0, 1)

    with pytest.raises(kind) as caught:
        write()
    assert ("disk" in caught.value.advice) == (kind is OutputError)
    if kind is UnavailableError:
        assert "libx264 encoder refused" in caught.value.what
        assert "16 x 16" in caught.value.what
    assert not (tmp_path / "c.mp4").exists()
