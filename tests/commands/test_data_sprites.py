import json

import numpy as np
import pytest
from sprite_assets import make_assets

from slotcli.data.sprites import Sprites
from slotcli.spec import SpritesSpec
from slotcli.tracks.masks import read_masks
from slotcli.video.reader import open_clip


def test_videos_and_true_masks_are_written_and_kept(cli, tmp_path):
    objects, photographs = make_assets(tmp_path / "assets")
    command = ["data", "sprites", tmp_path / "out", "--objects", objects]
    command += ["--photographs", photographs, "--frames", 3, "--size", "32x48", "--seed", 5]
    code, out, _ = cli(*command, "--clips", 2)
    assert (code, "2 clips rendered" in out) == (0, True)
    data = Sprites(
        SpritesSpec(objects=str(objects), photographs=str(photographs), frames=3, seed=5), (32, 48)
    )
    written = np.stack(list(read_masks(tmp_path / "out/masks/sprites-6")))
    assert (written == data.clip(1, 0, 3).labels.numpy()).all()
    with open_clip(tmp_path / "out/videos/sprites-6.mp4") as reader:
        assert next(reader.chunks(9)).frames.shape == (3, 32, 48, 3)
    code, out, err = cli("--json", *command, "--clips", 3, "--held-out")
    assert code == 0
    assert "do not train" in err
    assert json.loads(out.splitlines()[-1])["reserved_for"] == "validation"
    code, out, _ = cli(*command, "--clips", 3)
    assert "1 clips rendered, 2 existed already" in out
    more = make_assets(tmp_path / "others")[0]
    code, _, err = cli(*command, "--clips", 3, "--objects", more)
    assert code == 73
    assert "made from other folders" in err


@pytest.mark.parametrize("wrong", ["missing", "empty", "opaque"])
def test_folders_without_objects_are_two_lines_and_66(cli, tmp_path, wrong):
    objects, photographs = make_assets(tmp_path / "assets")
    (tmp_path / "empty").mkdir()
    folder = {"missing": tmp_path / "no", "empty": tmp_path / "empty", "opaque": photographs}[wrong]
    for folders in ((folder, photographs), (objects, tmp_path / "no")):
        command = ["data", "sprites", tmp_path / "out", "--objects", folders[0]]
        code, _, err = cli(*command, "--photographs", folders[1])
        assert code == 66
        assert len(err.strip().splitlines()) == 2
        assert not (tmp_path / "out").exists()
