"""A model whose decoder reads the slots' places, through the commands."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_clips import assert_refused, make_clip, run_in

from slotcli.codecs.vqvae import Vqvae
from slotcli.tracks.slot_file import read_slot_file, write_slot_file
from slotcli.video.writer import VideoWriter

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
QUICK = ["--evaluations", "2", "--sampler", "multistep", *ON]
SLOTS = "out/clip.mp4/clip.slots.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_drawing_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("drawing")
    make_clip(folder / "clip.mp4", 3)
    given = ["decompose", "clip.mp4", "--out", "out", "--model", tiny_drawing_model, "--masks"]
    code, _, err = run_in(folder, *given, "none", *ON)
    assert code == 0, err
    return folder


def drawn(folder: Path, *options: object, of: str = "out/clip.mp4") -> np.ndarray:
    kept = []
    write = VideoWriter.write

    def note(self, frame, pts, duration):
        kept.append(frame.copy())
        write(self, frame, pts, duration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "write", note)
        # Of two latents that differ by a rounding, one may have another code: on some processors.
        patch.setattr(Vqvae, "quantise", lambda _, latents: latents)
        given = ["reconstruct", of, "-o", "x.mp4", "--overwrite", *options, *QUICK]
        code, _, err = run_in(folder, *given)
        assert code == 0, err
    return np.stack(kept)


def test_the_place_of_what_is_dropped_is_the_backgrounds(folder: Path) -> None:
    slot_file = read_slot_file(folder / SLOTS)
    assert slot_file.appearance is not None
    whole, less = drawn(folder), drawn(folder, "--drop", 2)
    assert (whole != less).any()
    # slot 0 is the background, and ID 2 is slot 1: by hand
    attention, path = slot_file.attention.copy(), folder / SLOTS
    attention[:, 0] += attention[:, 1]
    kept = [0, 2]
    before = path.read_bytes()
    changed = replace(
        slot_file,
        slots=slot_file.slots[:, kept],
        attention=attention[:, kept],
        appearance=slot_file.appearance[:, kept],
    )
    write_slot_file(path, changed)
    try:
        by_hand = drawn(folder)
    finally:
        path.write_bytes(before)
    assert abs(by_hand.astype(int) - less).max() <= 2  # shares are stored at half precision


def test_an_edit_that_drops_renders_as_reconstruct_without_it(folder: Path) -> None:
    code, _, err = run_in(folder, "edit", "out/clip.mp4", "--drop", 2)
    assert code == 0, err
    edited = drawn(folder, of="out/clip.mp4/edited.slots.safetensors")
    assert abs(edited.astype(int) - drawn(folder, "--drop", 2)).max() <= 2  # half precision


@pytest.mark.parametrize("channels", [None, 0, 5, 11])
def test_slots_without_all_of_their_appearance_are_refused(
    folder: Path, tmp_path: Path, tiny_drawing_model: Path, channels: int | None
) -> None:
    slot_file = read_slot_file(folder / SLOTS)
    assert slot_file.appearance is not None
    less = None if channels is None else slot_file.appearance[..., :channels]
    write_slot_file(tmp_path / "old.safetensors", replace(slot_file, appearance=less))
    given = ["reconstruct", tmp_path / "old.safetensors", "-o", tmp_path / "x.mp4"]
    code, _, err = run_in(folder, *given, "--model", tiny_drawing_model, *QUICK)
    assert code == 65
    assert_refused(err)
    assert not (tmp_path / "x.mp4").exists()
