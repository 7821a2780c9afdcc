"""Each of the five systems through the command line: train, go on, decompose, draw, score."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_clips import decoded, make_clip, mask_files
from test_train import sets, write_definition

from slotcli.checkpoint import load_model
from slotcli.spec import SlotModelSpec
from slotcli.tracks.slot_file import read_slot_file

pytestmark = pytest.mark.slow

FEW = (
    'train.data={kind="synth", mix={A=1.0}, clips=2, frames=3}',
    "train.evaluate_every=2",
    "train.batch_size=2",
)
ON = ("--device", "cpu", "--threads", 1)


@pytest.fixture
def trained(cli, tmp_path: Path, tiny_system: Path, tiny_codec: Path, tiny_dvae: Path) -> Path:
    """A run of four steps that was interrupted after two."""
    spec = load_model(str(tiny_system)).spec
    assert isinstance(spec, SlotModelSpec)
    codec = {None: None, "vqvae": str(tiny_codec), "dvae": str(tiny_dvae)}
    kind = None if spec.codec is None else spec.codec.kind
    given = {"codec": codec[kind]} if kind else {}
    definition = write_definition(tmp_path, tiny_system, **given)
    for steps in (2, 4):
        options = ("--config", definition, "--out", "run", *sets(*FEW, f"train.steps={steps}"))
        code, _, err = cli("train", *options, *ON)
        assert code == 0, err
    return tmp_path / "run"


def test_from_training_to_scores(cli, tmp_path: Path, trained: Path) -> None:
    assert load_model(str(trained)).step == 4
    steps = [json.loads(line)["step"] for line in (trained / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]

    make_clip(tmp_path / "clip.mp4", 5, (48, 64))
    code, _, err = cli("decompose", "clip.mp4", "--out", "out", "--model", trained, *ON)
    assert code == 0, err
    result = tmp_path / "out" / "clip.mp4"
    found = read_slot_file(result / "clip.slots.safetensors")
    assert np.isfinite(found.slots).all()
    np.testing.assert_allclose(found.attention.astype(np.float64).sum(1), 1, atol=2e-3)
    assert mask_files(result / "masks").shape == (5, 48, 64)
    code, _, err = cli("export", result, "-o", "again")
    assert code == 0, err
    again = tmp_path / "again" / "masks"
    np.testing.assert_array_equal(mask_files(again), mask_files(result / "masks"))

    quick = ("--evaluations", 2, "--sampler", "ddim")
    code, _, err = cli("reconstruct", result, "-o", "drawn.mp4", *quick, *ON)
    assert code == 0, err
    assert decoded(tmp_path / "drawn.mp4")[0].shape == (5, 48, 64, 3)

    few = ("--data", "synth:A", "--clips", 2, "--frames", 2, "--render", 1)
    code, out, err = cli("--json", "evaluate", "--model", trained, *few, *ON)
    assert code == 0, err
    scores = json.loads(out.splitlines()[-1])
    assert scores["segmentation"]["model"]["miou"]["mean"] is not None
    assert scores["pictures"]["model"]["psnr"]["mean"] is not None
