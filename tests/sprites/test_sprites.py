import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sprite_assets import make_assets

from slotcli.data.dataset import Dataset
from slotcli.data.datasets import open_dataset
from slotcli.data.sprites import Sprites
from slotcli.data.windows import draw_windows
from slotcli.errors import DataError, NoInputError
from slotcli.spec import SpritesSpec
from slotcli.sprites.assets import (
    HELD_OUT_OBJECTS,
    is_held_out,
    open_objects,
    open_photographs,
)
from slotcli.sprites.render import MOST_INSTANCES, draw_scene, render
from slotcli.sprites.worlds import SHARES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    objects, photographs = make_assets(tmp_path_factory.mktemp("assets"))
    return SpritesSpec(objects=str(objects), photographs=str(photographs), clips=40, frames=9)


@pytest.fixture(scope="module")
def data(spec):
    return open_dataset(spec, (32, 48))


@pytest.mark.parametrize("world", SHARES)
def test_every_world_has_labels_that_are_seen_and_consecutive(data, world):
    seen = 0
    for seed in range(6):
        scene = draw_scene([seed], data.assets, 9, (32, 48), world=world)
        clip = render(scene, range(9), (32, 48))
        assert clip.frames.shape == (9, 3, 32, 48)
        assert clip.labels is not None
        labels = clip.labels.unique().tolist()
        assert max(labels) <= MOST_INSTANCES
        assert set(range(1, len(scene.things) + 1)) <= set(labels)
        seen += len(scene.things)
    assert (seen == 0) == (world == "empty")


def test_a_window_is_a_slice_of_the_whole_clip_whatever_was_drawn_before(data, spec):
    assert isinstance(data, Dataset)
    assert (len(data), data.frames(3), data.labelled) == (40, 9, True)
    for index in (0, 7, 12):
        whole = data.clip(index, 0, 9)
        other = Sprites(spec, (32, 48))
        for start, length, stride in ((2, 3, 1), (1, 3, 3), (8, 1, 1)):
            window = other.clip(index, start, length, stride)
            chosen = slice(start, start + (length - 1) * stride + 1, stride)
            assert torch.equal(window.frames, whole.frames[chosen])
            assert torch.equal(window.labels, whole.labels[chosen])
    assert not torch.equal(data.clip(0, 0, 1).frames, data.clip(1, 0, 1).frames)
    assert len({data.name(index) for index in range(40)}) == 40
    windows = draw_windows(data, seed=0, step=1, batch_size=4, length=3, stride=2, flip=True)
    assert all(window.start + 4 < 9 for window in windows)


def test_another_process_draws_the_same_bytes(data, spec):
    program = (
        "import sys, hashlib; from slotcli.spec import SpritesSpec\n"
        "from slotcli.data.sprites import Sprites\n"
        "clip = Sprites(SpritesSpec.model_validate_json(sys.argv[1]), (32, 48)).clip(5, 2, 3)\n"
        "print(hashlib.sha256(clip.frames.numpy().tobytes() + clip.labels.numpy().tobytes())"
        ".hexdigest())"
    )
    import hashlib

    clip = data.clip(5, 2, 3)
    expected = hashlib.sha256(clip.frames.numpy().tobytes() + clip.labels.numpy().tobytes())
    ran = [sys.executable, "-c", program, spec.model_dump_json()]
    out = subprocess.run(ran, capture_output=True, text=True, check=True).stdout
    assert out.strip() == expected.hexdigest()


def test_held_out_is_disjoint_and_stays_so_when_files_are_added(tmp_path):
    objects, photographs = make_assets(tmp_path)

    def sides():
        paths = [set(open_objects(objects, held_out=side).paths) for side in (False, True)]
        counts = [len(open_photographs(photographs, held_out=s).pictures) for s in (False, True)]
        return paths, counts

    (training, held_out), counts = sides()
    assert training
    assert held_out
    assert not training & held_out
    assert len(training | held_out) == 30
    assert sum(counts) == 30
    assert min(counts) > 0
    for number in range(20):
        (objects / f"a{number}.png").write_bytes((objects / "o1.png").read_bytes())
    (more_training, more_held_out), _ = sides()
    assert training <= more_training
    assert held_out <= more_held_out
    names = [f"{number}.png" for number in range(4000)]
    share = sum(is_held_out(name, HELD_OUT_OBJECTS) for name in names) / len(names)
    assert share == pytest.approx(HELD_OUT_OBJECTS, abs=0.02)


def test_variants_and_duplicates_are_left_out(tmp_path):
    objects, photographs = make_assets(tmp_path)
    before = len(open_objects(objects, held_out=False).paths)
    (objects / "1f44b-1f3fd.png").write_bytes((objects / "o1.png").read_bytes())
    Image.new("RGB", (50, 50), "red").save(objects / "opaque.png")
    Image.new("RGBA", (8, 50), (0, 0, 0, 0)).save(objects / "narrow.png")
    assert len(open_objects(objects, held_out=False).paths) == before
    with Image.open(photographs / "p3.png") as image:
        image.resize((192, 144)).save(photographs / "p3-large.png")
        image.save(photographs / "p3-again.jpg", quality=90)
    pictures = [open_photographs(photographs, held_out=side).pictures for side in (False, True)]
    assert sum(map(len, pictures)) == 30


def test_large_and_upright_frames_and_sizes_relative_to_them(data):
    for size in ((48, 24), (130, 70)):
        clip = render(draw_scene([4], data.assets, 3, size, world="close"), [1], size)
        assert clip.labels is not None
        assert clip.labels.shape == (1, *size)
        assert 0.02 < (clip.labels > 0).float().mean() < 1


def test_folders_that_cannot_be_used_are_errors_that_name_them(tmp_path):
    objects, photographs = make_assets(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoInputError, match="no such folder"):
        open_objects(tmp_path / "missing", held_out=False)
    with pytest.raises(NoInputError, match="no such folder"):
        open_photographs(objects / "o1.png", held_out=False)
    for open_folder in (open_objects, open_photographs):
        with pytest.raises(NoInputError, match="holds no picture"):
            open_folder(empty, held_out=False)
    with pytest.raises(NoInputError, match="has alpha"):
        open_objects(photographs, held_out=False)
    clear = tmp_path / "clear"
    clear.mkdir()
    for number in range(30):
        Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(clear / f"{number}.png")
    with pytest.raises(NoInputError, match="transparent"):
        open_objects(clear, held_out=False).draw(np.random.default_rng(0))
    (photographs / "broken.png").write_bytes(b"\x89PNG not")
    with pytest.raises(DataError, match=r"broken\.png"):
        open_photographs(photographs, held_out=False)
    (objects / "broken.webp").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"broken\.webp"):
        open_objects(objects, held_out=False)
