import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_clips import (
    UNEVEN,
    assert_refused,
    decoded,
    make_clip,
    make_images,
    run_in,
    tree,
)

from slotcli.build import build
from slotcli.checkpoint import WEIGHTS, load_model, read_tensors, save_model
from slotcli.results.reconstruct import recorded_ids
from slotcli.tracks.slot_file import read_slot_file, write_slot_file
from slotcli.video.writer import VideoWriter

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
EXACT = ["--precision", "fp32"]
QUICK = ["--evaluations", "2", "--sampler", "multistep", *ON]
SLOTS = "clip.slots.safetensors"
SIZE = (47, 61)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    folder = tmp_path_factory.mktemp("reconstruct")
    make_clip(folder / "clip.mp4", len(UNEVEN), SIZE, UNEVEN)
    given = ["decompose", "clip.mp4", "--out", ".out", "--model", tiny_model, "--masks", "none"]
    code, _, err = run_in(folder, *given, *ON)
    assert code == 0, err
    return folder


@pytest.fixture
def draw(folder, tmp_path):
    """Reconstruct the clip into a new file: its path."""

    def run(*options):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.mp4"
        code, _, err = run_in(folder, "reconstruct", ".out/clip.mp4", "-o", out, *options, *QUICK)
        assert code == 0, err
        return out

    return run


@pytest.fixture
def drawn_exactly(monkeypatch, draw):
    """Reconstruct, and get the pictures as they were before a codec changed them."""

    def run(*options):
        kept = []
        write = VideoWriter.write

        def note(self, frame, pts, duration):
            kept.append(frame.copy())
            write(self, frame, pts, duration)

        with monkeypatch.context() as patch:
            patch.setattr(VideoWriter, "write", note)
            draw(*options)
        return np.stack(kept)

    return run


def test_times_and_size_are_the_sources(folder, draw):
    _, times = decoded(folder / "clip.mp4")
    assert times[0] > 0
    frames, drawn_times = decoded(draw())
    assert drawn_times == times
    assert frames.shape == (len(UNEVEN), *SIZE, 3)


def test_result_folder_is_where_it_goes_by_default(folder):
    code, out, _ = run_in(folder, "--json", "reconstruct", ".out/clip.mp4", *QUICK)
    assert code == 0
    video = folder / ".out/clip.mp4/reconstruction.mp4"
    assert json.loads(out) == {"video": str(video.relative_to(folder)), "frames": len(UNEVEN)}
    before = tree(folder)
    code, out, err = run_in(folder, "reconstruct", ".out/clip.mp4", *QUICK)
    assert (code, out) == (73, "")
    assert_refused(err)
    assert tree(folder) == before
    code, _, _ = run_in(folder, "reconstruct", ".out/clip.mp4", "--overwrite", "--seed", 1, *QUICK)
    assert code == 0
    changed = {name for name, content in tree(folder).items() if before[name] != content}
    assert changed == {str(video.relative_to(folder))}


def test_same_command_gives_the_same_bytes(draw):
    assert draw().read_bytes() == draw().read_bytes()


def test_slots_kept_and_dropped(draw, folder):
    whole = draw().read_bytes()
    slot_file = read_slot_file(folder / ".out/clip.mp4" / SLOTS)
    ids = recorded_ids(slot_file)
    every = [option for own in reversed(ids) for option in ("--keep", own)]
    assert draw(*every).read_bytes() == whole
    dropped = draw("--drop", ids[1]).read_bytes()
    assert dropped != whole
    rest = [option for own in ids if own != ids[1] for option in ("--keep", own)]
    assert draw(*rest).read_bytes() == dropped


def test_without_noise_no_seed_makes_a_difference(draw):
    mean = draw("--noise-scale", 0, "--seed", 1).read_bytes()
    assert draw("--noise-scale", 0, "--seed", 2).read_bytes() == mean
    sample = draw("--seed", 1).read_bytes()
    assert sample != mean
    assert draw("--noise-scale", 1, "--seed", 1).read_bytes() == sample


def test_batches_make_no_difference(drawn_exactly):
    alone, together = drawn_exactly("--batch", 1), drawn_exactly("--batch", 16)
    assert alone.shape == (len(UNEVEN), *SIZE, 3)
    # Matrix products of other shapes round otherwise: a pixel may fall on the next of 256 levels.
    assert abs(alone.astype(int) - together).max() <= 1
    assert (alone != together).mean() < 0.01


def test_equal_slots_draw_equal_frames(folder, tiny_model, monkeypatch, tmp_path):
    slot_file = read_slot_file(folder / ".out/clip.mp4" / SLOTS)
    slots = slot_file.slots.copy()
    slots[[3, 6]] = slots[1]
    write_slot_file(tmp_path / "equal.safetensors", replace(slot_file, slots=slots))
    kept = []
    monkeypatch.setattr(VideoWriter, "write", lambda self, frame, *_: kept.append(frame.copy()))
    monkeypatch.setattr(VideoWriter, "_finish", lambda self: self._discard())
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: None)
    given = ["reconstruct", "equal.safetensors", "-o", "x.mp4", "--model", tiny_model]
    code, _, err = run_in(tmp_path, *given, "--batch", 1, *QUICK)
    assert code == 0, err
    np.testing.assert_array_equal(kept[3], kept[1])
    np.testing.assert_array_equal(kept[6], kept[1])
    assert (kept[2] != kept[1]).any()


def test_pictures_are_the_decoders_own(folder, tiny_model, drawn_exactly, tmp_path):
    """At the model's size there is nothing to resize."""
    make_images(tmp_path / "images", 2, (32, 32))
    given = ["decompose", "images", "--out", "out", "--model", tiny_model, "--masks", "none"]
    assert run_in(tmp_path, *given, *ON)[0] == 0
    kept = []
    write = VideoWriter.write

    def note(self, frame, pts, duration):
        kept.append(frame.copy())
        write(self, frame, pts, duration)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "write", note)
        assert run_in(tmp_path, "reconstruct", "out/images", "--seed", 5, *EXACT, *QUICK)[0] == 0
    decoder = load_model(str(tiny_model)).module.decoder
    slots = torch.from_numpy(read_slot_file(tmp_path / "out/images" / SLOTS).slots)
    noise = torch.randn(decoder.latent_shape, generator=torch.Generator().manual_seed(5))
    expected = decoder.render_from(slots, noise, "multistep", 2).permute(0, 2, 3, 1)
    levels = (expected.double().numpy() + 1) * 127.5
    assert abs(np.stack(kept) - levels).max() <= 0.5 + 1e-3


@pytest.fixture
def refused(cli, folder, tmp_path):
    """Run a reconstruction that has to fail; its exit code and what it said."""

    def run(*options):
        before = tree(tmp_path), tree(folder)
        code, out, err = cli("reconstruct", *QUICK, *options)
        assert_refused(err)
        assert out == ""
        assert (tree(tmp_path), tree(folder)) == before
        return code, err

    return run


def test_other_weights_are_refused(refused, folder, tiny_model, tiny_slot_spec, tmp_path):
    spec = load_model(str(tiny_model)).spec
    torch.manual_seed(1)
    save_model(tmp_path / "other.safetensors", spec, build(spec).state_dict(), 0, {})
    code, err = refused(folder / ".out/clip.mp4", "-o", "x.mp4", "--model", "other.safetensors")
    assert code == 65
    assert "not the weights" in err


def test_slots_of_an_earlier_file_with_the_same_tensors_are_taken(draw, tiny_model, tmp_path):
    loaded = load_model(str(tiny_model))
    moved = tmp_path / "moved.safetensors"
    tensors = loaded.module.state_dict()
    save_model(moved, loaded.spec, tensors, 1, {"same_tensors_as": [loaded.sha256]})
    assert load_model(str(moved)).sha256 != loaded.sha256
    assert draw("--model", moved).stat().st_size > 0


def test_a_model_that_is_gone(refused, folder, tmp_path):
    slots = folder / ".out/clip.mp4" / SLOTS
    (tmp_path / SLOTS).write_bytes(slots.read_bytes())
    # Without its result folder, a slot file knows no more than the model's name.
    assert refused(SLOTS, "-o", "x.mp4")[0] == 66
    (tmp_path / "bare").mkdir()
    assert refused(SLOTS, "-o", "x.mp4", "--model", "bare")[0] == 69


def test_slots_that_are_none(refused, folder, tmp_path):
    slots = folder / ".out/clip.mp4" / SLOTS
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("slots")
    content = bytearray(slots.read_bytes())
    content[-9] ^= 4
    (tmp_path / "flipped").write_bytes(content)
    (tmp_path / "half").write_bytes(content[: len(content) // 2])
    assert refused("absent")[0] == 66
    assert refused("empty")[0] == 66
    for name in ("text", "flipped", "half", folder / "clip.mp4"):
        assert refused(name)[0] == 65, name


@pytest.mark.parametrize(
    "wrong", [{"model": 3}, {"source": None}, {"statistics": []}, {"run": "x"}, {"sampling": 0.5}]
)
def test_sections_that_are_no_tables(refused, folder, tmp_path, wrong):
    slot_file = read_slot_file(folder / ".out/clip.mp4" / SLOTS)
    metadata = {**slot_file.metadata, **wrong}
    write_slot_file(tmp_path / SLOTS, replace(slot_file, metadata=metadata))
    code, err = refused(SLOTS, "-o", "x.mp4")
    assert code == 65
    assert "not a table" in err


def test_wrong_command_lines(refused, folder):
    result = folder / ".out/clip.mp4"
    given = [result, "-o", "x.mp4"]
    ids = recorded_ids(read_slot_file(result / SLOTS))
    assert refused(*given, "--keep", 5)[0] == 2
    code, err = refused(*given, "--keep", 0 if 0 not in ids else 1 + ids.index(0))
    assert code == 2
    assert str(max(ids)) in err
    assert refused(*given, "--drop", 9)[0] == 2
    assert refused(*given, "--keep", 1, "--drop", 2)[0] == 2
    assert refused(*given, *(option for own in ids for option in ("--drop", own)))[0] == 2
    assert refused(*given, "--sampler", "guess")[0] == 2
    assert refused(*given, "--batch", 0)[0] == 2
    for scale in ("-0.1", "nan", "inf", "loud"):
        assert refused(*given, "--noise-scale", scale)[0] == 2


def test_places_that_cannot_be_written(refused, folder, tmp_path):
    result = folder / ".out/clip.mp4"
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "there").mkdir()
    for out in ("file", "there", "file/x.mp4", "absent/x.mp4", "/dev/full/x.mp4", "n" * 300):
        assert refused(result, "-o", out)[0] == 73, out
    assert refused(result, "-o", "there", "--overwrite")[0] == 73
    assert refused(result, "-o", "/proc/x.mp4")[0] in (73, 77)


def test_pictures_that_are_no_numbers(refused, cli, tiny_model, tmp_path):
    tensors, metadata = read_tensors(tiny_model / WEIGHTS)
    for name in tensors:
        if name.startswith("decoder.codec.decoder"):
            tensors[name] = torch.full_like(tensors[name], 3e38)
    spec = load_model(str(tiny_model)).spec
    save_model(tmp_path / "huge.safetensors", spec, tensors, metadata["step"], {})
    make_clip(tmp_path / "a.mp4", 2)
    given = ["decompose", "a.mp4", "--out", "out", "--model", "huge.safetensors", *ON]
    assert cli(*given)[0] == 0
    code, err = refused("out/a.mp4")
    assert code == 70
    assert "Frame 0:" in err
