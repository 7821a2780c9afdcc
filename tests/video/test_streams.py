"""Which of several video streams is read, and what is kept of those with alpha."""

import av
import numpy as np
import pytest
from PIL import Image
from video_files import encode, made, moving, moving_frames, read

from slotcli.video import streams

TWO = [*moving(1, size="64x48")[:4], *moving(1, size="96x64")[:4], "-map", "0", "-map", "1"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize("default", [0, 1])
def test_the_stream_marked_as_default_is_read(ffmpeg, tmp_path, suffix, default):
    marks = [f"-disposition:v:{1 - default}", "0", f"-disposition:v:{default}", "default"]
    path = made(ffmpeg, tmp_path / f"two.{suffix}", *TWO, *marks, "-pix_fmt", "yuv420p")
    chunk, reader = read(path)
    size = [(48, 64), (64, 96)][default]
    assert chunk.frames.shape == (10, *size, 3)
    (note,) = reader.damage.notes
    assert "2 video streams" in note
    assert f"stream {default} (h264, {size[1]} x {size[0]}, default) was read" in note
    assert len(reader.info.video_streams) == 2
    assert reader.damage.missing == 0


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_without_marks_it_is_the_first(ffmpeg, tmp_path, suffix):
    marks = ["-disposition:v:0", "0", "-disposition:v:1", "0"]
    path = made(ffmpeg, tmp_path / f"two.{suffix}", *TWO, *marks, "-pix_fmt", "yuv420p")
    chunk, reader = read(path)
    assert chunk.frames.shape == (10, 48, 64, 3)
    assert "stream 0" in reader.damage.notes[0]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_cover_is_no_video(ffmpeg, tmp_path, suffix):
    Image.fromarray(moving_frames(1, (16, 16))[0]).save(tmp_path / "cover.png")
    clip = made(ffmpeg, tmp_path / f"c.{suffix}", *moving(1))
    cover = tmp_path / "cover.png"
    attached = {
        "mp4": ["-i", cover, "-map", "1", "-map", "0", "-disposition:v:0", "attached_pic"],
        "mkv": ["-attach", cover, "-metadata:s:t", "mimetype=image/png"],
    }
    path = made(ffmpeg, tmp_path / f"t.{suffix}", "-i", clip, *attached[suffix], "-c", "copy")
    chunk, reader = read(path)
    assert chunk.frames.shape == (10, 64, 96, 3)
    assert reader.damage.notes == []
    assert len(reader.info.video_streams) == 1


def clear(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gray frames, RGBA, that fade from clear to solid, and what they look like on mid-gray."""
    alpha = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8)[:, None], (count, 64, 96, 1))
    rgb = np.full((count, 64, 96, 3), 220, np.uint8)
    weight = alpha / 255
    return np.concatenate([rgb, alpha], axis=-1), rgb * weight + 128 * (1 - weight)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_alpha_beside_the_picture_is_laid_on_mid_gray(tmp_path, codec):
    frames, shown = clear(3)
    options = {"auto-alt-ref": "0", "deadline": "realtime", "cpu-used": "8"}
    path = encode(
        tmp_path / "c.webm",
        frames,
        codec,
        "yuva420p",
        source_format="rgba",
        codec_options=options,
    )
    chunk, reader = read(path)
    assert np.abs(chunk.frames - shown).mean() < 4
    assert "mid-gray" in " ".join(reader.damage.notes)
    assert not chunk.flags.any()
    assert reader.info.codec in ("vp8", "vp9")


def test_alpha_that_no_decoder_gives_is_told(tmp_path, monkeypatch):
    path = encode(
        tmp_path / "c.webm",
        clear(2)[0],
        "libvpx",
        "yuva420p",
        source_format="rgba",
        codec_options={"auto-alt-ref": "0"},
    )
    monkeypatch.setattr(streams, "_ALPHA_DECODERS", {"vp8": "no-such-decoder"})
    chunk, reader = read(path)
    assert len(chunk) == 2
    (note,) = reader.damage.notes
    assert "no no-such-decoder decoder" in note


def test_vp9_without_alpha_is_decoded_as_before(tmp_path):
    frames = moving_frames(3, (32, 48))
    chunk, reader = read(encode(tmp_path / "c.webm", frames, "libvpx-vp9", "yuv420p"))
    assert len(chunk) == 3
    assert reader.damage.notes == []
    with av.open(str(tmp_path / "c.webm")) as container:
        assert streams.alpha_decoder(container.streams.video[0]) == (None, None)
