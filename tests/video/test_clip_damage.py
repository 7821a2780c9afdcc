"""Broken, hostile and unreadable files: kept, counted, or refused with one plain sentence."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
from video_files import encode, moving_frames, read

from slotcli.errors import AccessError, DataError, NoInputError, SlotcliError
from slotcli.types import FLAG_CORRUPT
from slotcli.video.reader import ClipReader, open_clip, probe

FASTSTART = {"movflags": "+faststart"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    frames = moving_frames(60, (96, 128))
    noise = np.random.default_rng(0).integers(0, 40, frames.shape, np.uint8)
    return encode(
        tmp_path_factory.mktemp("sound") / "sound.mp4",
        frames + noise // 2,
        codec_options={"g": "12"},
        container_options=FASTSTART,
    )


def refused(path: Path, kind: type[SlotcliError]) -> SlotcliError:
    with pytest.raises(kind) as caught:
        open_clip(path)
    assert caught.value.what.isprintable()
    assert caught.value.what.endswith(".")
    assert caught.value.advice
    return caught.value


def write_audio(path: Path, cover: np.ndarray | None = None) -> Path:
    with av.open(str(path), "w") as out:
        audio = out.add_stream("pcm_s16le" if path.suffix == ".wav" else "flac", rate=8000)
        audio.layout = "mono"
        if cover is not None:
            picture = out.add_stream("png", rate=1)
            picture.height, picture.width = cover.shape[:2]
            picture.pix_fmt = "rgb24"
            picture.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.int16), "s16", "mono")
        silence.rate, silence.pts = 8000, 0
        if cover is not None:
            out.mux(picture.encode(av.VideoFrame.from_ndarray(cover, "rgb24")))
            out.mux(picture.encode(None))
        out.mux(audio.encode(silence))
        out.mux(audio.encode(None))
    return path


def test_truncated_file_keeps_its_start(sound, tmp_path):
    whole, _ = read(sound)
    path = tmp_path / "cut.mp4"
    path.write_bytes(sound.read_bytes()[: sound.stat().st_size * 2 // 5])
    chunk, reader = read(path)
    assert 5 < len(chunk) < 50
    np.testing.assert_array_equal(chunk.frames[:5], whole.frames[:5])
    assert reader.damage.coverage == pytest.approx(len(chunk) / 60, abs=0.02)
    assert "of 60 declared frames" in " ".join(reader.damage.notes)


def test_damage_in_the_middle_is_flagged_and_counted(sound, tmp_path):
    content = bytearray(sound.read_bytes())
    rng = np.random.default_rng(3)
    start = content.index(b"mdat") + len(content) // 4
    for offset in rng.integers(start, len(content) * 3 // 4, 8):
        content[offset : offset + 40] = rng.bytes(40)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    chunk, reader = read(path)
    damage = reader.damage
    assert 50 <= len(chunk) <= 60
    assert damage.corrupt_frames + damage.packet_errors > 0
    assert damage.corrupt_frames == np.count_nonzero(chunk.flags & FLAG_CORRUPT)
    assert damage.packet_errors >= 60 - len(chunk)
    assert (np.diff(chunk.pts) > 0).all()
    again, _ = read(path)
    np.testing.assert_array_equal(again.frames, chunk.frames)


@pytest.mark.parametrize("from_end", [3, 5])
def test_frames_after_an_error_near_the_end_are_kept(sound, tmp_path, from_end):
    with av.open(str(sound)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(sound.read_bytes())
    position, size = packets[-from_end]
    content[position + 4 : position + size] = b"\x01" * (size - 4)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(content)
    chunk, reader = read(path)
    assert len(chunk) + reader.damage.packet_errors == 60
    assert len(chunk) >= 59


def test_mutants_never_crash(sound, tmp_path):
    original = sound.read_bytes()
    path = tmp_path / "mutant.mp4"
    for seed in range(60):
        rng = np.random.default_rng(seed)
        content = bytearray(original)
        # Half of them in the header, where structure is.
        end = 1500 if seed % 2 else len(content)
        for offset in rng.integers(0, end, 12):
            content[offset] = rng.integers(256)
        path.write_bytes(content)
        try:
            chunk, reader = read(path)
        except SlotcliError:
            continue
        assert len(chunk) == reader.damage.decoded > 0
        assert (np.diff(chunk.pts) > 0).all()
        assert (chunk.duration > 0).all()


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n" * 50, bytes(4096), b"ffconcat version 1.0\nfile a\n"]
)
def test_no_video_in_it(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    refused(path, DataError)


def test_playlist_opens_no_other_file(sound, tmp_path):
    path = tmp_path / "list.mp4"
    (tmp_path / "a.mp4").write_bytes(sound.read_bytes())
    path.write_text("ffconcat version 1.0\nfile a.mp4\n")
    refused(path, DataError)


def test_index_missing(sound, tmp_path):
    content = sound.read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_bytes(content[: content.index(b"moov") - 4] + content[content.index(b"mdat") - 4 :])
    refused(path, DataError)


def test_header_without_any_frame(sound, tmp_path):
    content = sound.read_bytes()
    path = tmp_path / "clip.mp4"
    path.write_bytes(content[: content.index(b"mdat") + 4])
    assert "no frame" in refused(path, DataError).what


def test_sound_only(tmp_path):
    assert "no video stream" in refused(write_audio(tmp_path / "a.wav"), DataError).what


def test_cover_art_is_no_video(tmp_path):
    path = write_audio(tmp_path / "music.flac", cover=moving_frames(1, (16, 16))[0])
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    assert "no video stream" in refused(path, DataError).what


def test_missing_and_forbidden(sound, tmp_path):
    refused(tmp_path / "none.mp4", NoInputError)
    refused(sound / "below.mp4", NoInputError)
    refused(tmp_path / "\udcff\n.mp4", NoInputError)
    with pytest.raises(NoInputError):
        ClipReader(tmp_path)


def test_forbidden(sound, monkeypatch):
    # Root may read everything, so the refusal is staged where the file is opened.
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("slotcli.video.reader.FileIO", refuse)
    refused(sound, AccessError)


def test_too_many_pixels_are_refused_before_decoding(sound):
    with pytest.raises(DataError, match="128 x 96"):
        probe(sound, max_pixels=96 * 128 - 1)
    assert probe(sound, max_pixels=96 * 128).size == (96, 128)


def test_no_file_stays_open(sound, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    for _ in range(3):
        probe(sound)
        refused(bad, DataError)
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    assert after == before
