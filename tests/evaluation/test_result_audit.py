from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from slotcli.errors import NoInputError, UsageError
from slotcli.evaluation.audit import audit_labels
from slotcli.evaluation.label_free import edge_alignment
from slotcli.evaluation.picture_figures import picture_figures
from slotcli.evaluation.result_audit import ResultAudit, StoredResult, audit_results
from slotcli.tracks.slot_file import SlotFile, write_slot_file
from slotcli.types import Size

NUM_SLOTS, MODEL = 7, (64, 64)


def one_hot(labels: np.ndarray) -> np.ndarray:
    return np.eye(NUM_SLOTS, dtype=np.float16)[labels].transpose(0, 3, 1, 2).copy()


def write(
    path: Path,
    labels: np.ndarray,
    *,
    weights: str = "ab",
    size_in_bytes: int = 0,
    source_size: Size = MODEL,
    crop: tuple[int, int, int, int] = (0, 0, *MODEL),
    frame_index: np.ndarray | None = None,
) -> Path:
    """A slot file whose attention is sure of these labels, at the model's own size."""
    count = len(labels)
    time = np.arange(count, dtype=np.int64)
    transform = {"source_size": source_size, "crop": crop, "model_size": MODEL}
    metadata = {
        "model": {"name": "made-up", "weights_sha256": weights},
        "source": {"bytes": size_in_bytes},
        "transform": {name: list(values) for name, values in transform.items()},
        "sampling": {},
        "run": {},
        "statistics": {},
    }
    stored = SlotFile(
        slots=np.zeros((count, NUM_SLOTS, 4), np.float32),
        attention=one_hot(labels),
        pts=time,
        duration=np.ones_like(time),
        frame_index=time if frame_index is None else frame_index,
        flags=np.zeros(count, np.uint8),
        metadata=metadata,
    )
    write_slot_file(path, stored)
    return path


def write_video(path: Path, frames: np.ndarray) -> int:
    """Lossless RGB; returns the file's size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))
    return path.stat().st_size


def run(results: list[StoredResult], clips: int = 64, frames: int = 6) -> ResultAudit:
    return audit_results(results, clips=clips, frames=frames, progress=lambda *_: None)


def test_scores_are_those_of_the_labels_and_pictures_that_are_stored(tmp_path, discs) -> None:
    frames, truth = discs(3)
    results = []
    for place, (clip, labels) in enumerate(zip(frames, truth, strict=True)):
        video = tmp_path / f"{place}.mkv"
        bytes_there = write_video(video, clip.permute(0, 2, 3, 1).contiguous().numpy())
        path = write(tmp_path / f"{place}.safetensors", labels, size_in_bytes=bytes_there)
        results.append(StoredResult(path, video))
    found = run(results)
    scores = audit_labels(truth, NUM_SLOTS).with_pictures(
        picture_figures(zip(frames, truth, strict=True))
    )
    expected = replace(scores, edge_alignment=edge_alignment(frames, truth), edge_clips=3)
    assert found.scores == expected
    assert found.scores.follows_motion is not None
    assert (found.num_slots, found.model["name"]) == (NUM_SLOTS, "made-up")
    assert found.left_out == found.without_pictures == {}


def test_pictures_are_what_the_model_saw_of_the_stored_frames(tmp_path, discs) -> None:
    """The right half of a clip, every second frame of it, on labels of that half."""
    frames, truth = discs(1, t=6)
    seen = frames[0].permute(0, 2, 3, 1).numpy()
    wide = np.concatenate([np.full_like(seen, 90), seen], axis=2)
    bytes_there = write_video(tmp_path / "wide.mkv", wide)
    path = write(
        tmp_path / "wide.safetensors",
        truth[0, ::2],
        size_in_bytes=bytes_there,
        source_size=(64, 128),
        crop=(0, 64, 64, 64),
        frame_index=np.arange(0, 6, 2),
    )
    found = run([StoredResult(path, tmp_path / "wide.mkv")], frames=3)
    assert found.scores.edge_alignment == edge_alignment(frames[:, ::2], truth[:, ::2])


def test_only_so_many_frames_of_so_many_results_count(tmp_path, discs) -> None:
    _, truth = discs(3)
    results = [
        StoredResult(write(tmp_path / f"{place}.safetensors", labels), None)
        for place, labels in enumerate(truth)
    ]
    found = run(results, clips=2, frames=3)
    assert found.scores == audit_labels(truth[:2, :3], NUM_SLOTS)


def test_clips_that_are_gone_or_changed_cost_the_edges_alone(tmp_path, discs) -> None:
    frames, truth = discs(4)
    for place in (0, 1):
        clip = frames[place].permute(0, 2, 3, 1).contiguous().numpy()
        write_video(tmp_path / f"{place}.mkv", clip)
    there = (tmp_path / "0.mkv").stat().st_size
    sources = ["0.mkv", "1.mkv", "gone.mkv", None]
    results = [
        StoredResult(
            write(tmp_path / f"{place}.safetensors", labels, size_in_bytes=there),
            source and tmp_path / source,
        )
        for place, (labels, source) in enumerate(zip(truth, sources, strict=True))
    ]
    (tmp_path / "1.mkv").write_bytes((tmp_path / "1.mkv").read_bytes() + b"\0" * 9)
    found = run(results)
    assert found.scores.clips == 4
    assert found.scores.edge_clips == 1
    assert found.scores.edge_alignment == edge_alignment(frames[:1], truth[:1])
    whys = [error.what for error in found.without_pictures.values()]
    assert ["1.mkv is not the clip" in whys[0], "gone.mkv" in whys[1], "not recorded" in whys[2]]
    assert list(found.without_pictures) == [str(result.slots) for result in results[1:]]


def test_what_cannot_be_read_or_is_too_short_is_left_out_by_name(tmp_path, discs) -> None:
    _, truth = discs(2)
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\0" * 99)
    short = write(tmp_path / "short.safetensors", truth[0, :2])
    whole = write(tmp_path / "whole.safetensors", truth[1])
    found = run([StoredResult(path, None) for path in (damaged, short, whole)])
    assert list(found.left_out) == [str(damaged), str(short)]
    assert "only 2 frames" in found.left_out[str(short)].what
    assert found.scores.clips == 1
    with pytest.raises(NoInputError, match="None of 2 results has 6 frames"):
        run([StoredResult(damaged, None), StoredResult(short, None)])


def test_results_of_two_models_are_not_mixed(tmp_path, discs) -> None:
    _, truth = discs(2)
    first = write(tmp_path / "first.safetensors", truth[0])
    second = write(tmp_path / "second.safetensors", truth[1], weights="cd")
    with pytest.raises(UsageError, match=r"second.*made-up \(cd, 7 slots\).*\(ab, 7 slots\)"):
        run([StoredResult(first, None), StoredResult(second, None)])
