"""A model without a decoder through the commands: masks of it, and no pictures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from made_clips import make_clip

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS, load_model, save_model
from slotcli.definition import definition_text, parse_spec, spec_json
from slotcli.spec import SlotModelSpec
from slotcli.tracks.slot_file import read_slot_file


@pytest.fixture(scope="module")
def masks_only_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_slot_spec: SlotModelSpec
) -> Path:
    values = spec_json(tiny_slot_spec)
    values["decoder"] = {"kind": "none"}
    values["train"] |= {"mask_weight": 1.0, "codec": None}
    spec = parse_spec(values, "tests")
    assert isinstance(spec, SlotModelSpec)
    folder = tmp_path_factory.mktemp("masks-only")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(folder / WEIGHTS, spec, build_model(spec).state_dict(), 0, {})
    return folder


def test_slot_0_is_the_background_and_nothing_is_drawn(
    masks_only_model: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    make_clip(tmp_path / "clip.mp4", 3)
    given = ["--model", masks_only_model, "--device", "cpu", "--threads", "1"]
    code, _, err = cli("decompose", "clip.mp4", *given)
    assert code == 0, err
    assert background_of(tmp_path) == 0
    [page] = tmp_path.rglob("report.html")
    text = page.read_text()
    assert "learned without labels" not in text
    assert "One slot took every pixel" in text or "learned from the masks" in text
    before = sorted(tmp_path.rglob("*"))
    code, _, err = cli("reconstruct", "slotcli-out/clip.mp4", *given)
    assert code == 69
    assert "draws nothing" in err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_background_that_is_asked_for_wins(
    masks_only_model: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    make_clip(tmp_path / "clip.mp4", 3)
    given = ["--model", masks_only_model, "--device", "cpu", "--threads", "1"]
    code, _, err = cli("decompose", "clip.mp4", *given, "--background", "none")
    assert code == 0, err
    assert background_of(tmp_path) is None


def background_of(folder: Path) -> int | None:
    slot_file = read_slot_file(folder / "slotcli-out/clip.mp4/clip.slots.safetensors")
    return slot_file.metadata["statistics"]["background"]


def test_it_is_scored_and_audited_without_pictures(
    masks_only_model: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    given = ["--model", masks_only_model, "--data", "synth:A", "--clips", "2", "--frames", "2"]
    code, out, err = cli("--json", "evaluate", *given, "--device", "cpu", "--threads", "1")
    assert code == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["pictures"] == {}
    assert summary["segmentation"]["model"]["miou"]["mean"] is not None
    code, out, err = cli("--json", "audit", *given, "--device", "cpu", "--threads", "1")
    assert code in (0, 3), err
    assert "Traceback" not in err
    assert "bug" not in err


@pytest.mark.parametrize("masks", ["png", "ffv1"])
def test_its_training_goes_on_with_the_masks_of_a_folder(
    masks_only_model: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]], masks: str
) -> None:
    made = ("--tier", "A", "--clips", 3, "--frames", 3, "--size", 32, "--masks", masks)
    assert cli("data", "synth", "scenes", *made)[0] == 0
    spec = load_model(str(masks_only_model)).spec
    (tmp_path / "model.toml").write_text(definition_text(spec))
    given = ("--init", masks_only_model, "--data", "scenes", "--threads", 1)
    code, _, err = cli("train", "--config", "model.toml", "--out", "run", *given)
    assert code == 0, err
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] > 0
    assert rows[-1]["fg_ari"] is not None


def test_adapt_refuses_a_model_whose_masks_cannot_change(
    tiny_drawing_model: Path, tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    make_clip(tmp_path / "clips" / "clip.mp4", 8)
    code, _, err = cli("adapt", "clips", "--model", tiny_drawing_model, "--out", "own")
    assert code == 2
    assert "cannot be adapted" in err
    assert not (tmp_path / "own").exists()
