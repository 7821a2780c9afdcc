"""adapt through the command line: a better model in a new folder, or nothing at all."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from made_clips import make_clip

from slotcli import faults
from slotcli.build import build
from slotcli.checkpoint import WEIGHTS, load_model, read_tensors, save_model
from slotcli.definition import parse_spec
from slotcli.spec import SlotModelSpec
from slotcli.training.tasks.slots import SlotTask

pytestmark = pytest.mark.slow

FAST = ("--device", "cpu", "--threads", 1, "--set", "train.batch_size=2")
ODD = "cl<b>ips* `a` [x](y)"


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model without a codec."""
    rates = {"learning_rate": 1e-3, "decoder_learning_rate": 1e-3}
    spec = parse_spec(
        {
            "kind": "slot_model",
            "name": "small",
            "size": [16, 16],
            "num_slots": 3,
            "slot_dim": 8,
            "encoder": {
                "backbone": {"kind": "compact_cnn", "channels": 8},
                "predictor": {"layers": 1},
            },
            "decoder": {"kind": "spatial_broadcast", "channels": 4},
            "train": {"steps": 4, "batch_size": 2, "clip_length": 2, **rates},
        },
        "tests",
    )
    assert isinstance(spec, SlotModelSpec)
    folder = tmp_path_factory.mktemp("parent")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(folder / WEIGHTS, spec, build(spec).state_dict(), 7, {})
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in range(5):
        make_clip(tmp_path / ODD / f"{number}.mp4", 4 + number, size=(16, 16))
    return tmp_path / ODD


@pytest.fixture
def gets_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less degenerate the further the weights are from those at the start; 0.9 there."""

    def evaluate(self: SlotTask) -> dict[str, float | None]:
        weights = torch.cat([p.detach().flatten() for p in self.module.encoder.parameters()])
        path = Path(os.environ["START"])
        if not path.exists():
            torch.save(weights, path)
        moved = (weights - torch.load(path)).abs().max().item()
        return {"degeneration": 0.9 - min(0.8, 1000 * moved)}

    monkeypatch.setattr(SlotTask, "evaluate", evaluate)


@pytest.fixture(autouse=True)
def place_of_the_start(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("START", str(tmp_path_factory.mktemp("start") / "weights.pt"))
    monkeypatch.setattr(faults, "_passes", Counter())


def found(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, hidden or not."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.usefixtures("gets_better")
def test_a_better_model_is_a_folder_that_loads_and_decomposes(cli, tmp_path, tiny_model, clips):
    before = found(tiny_model)
    given = ("adapt", clips, "--model", tiny_model, "--out", "new/own", "--steps", 2, "--seed", 5)
    code, out, err = cli("--json", *given, *FAST)
    assert code == 0, err
    assert found(tiny_model) == before
    assert sorted(found(tmp_path / "new")) == [
        "own",
        "own/README.md",
        "own/model.toml",
        "own/weights.safetensors",
    ]
    *rows, last = [json.loads(line) for line in out.splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert (last["adapted"], last["out"], last["held_out"]) == (True, "new/own", 2)
    assert last["before"]["degeneration"] - last["after"]["degeneration"] >= 0.02

    old, new = load_model(str(tiny_model)), load_model("new/own")
    assert (new.spec.name, new.step) == ("own", last["step"])
    changed = {
        name
        for name, tensor in old.module.state_dict().items()
        if not torch.equal(tensor, new.module.state_dict()[name])
    }
    assert changed
    assert not any("codec" in name for name in changed)
    _, facts = read_tensors(tmp_path / "new/own" / WEIGHTS)
    origin = facts["provenance"]
    assert origin["parent"]["weights_sha256"] == old.sha256
    assert (origin["data"], origin["clips"], origin["seed"]) == (clips.name, 5, 5)
    assert origin["command"][:3] == ["slotcli", "--json", "adapt"]
    assert [name for name, _, _ in origin["held_out"]] == ["1.mp4", "3.mp4"]

    card = (tmp_path / "new/own/README.md").read_text()
    shown = r"cl\<b\>ips\* \`a\` \[x\]\(y\)"
    prose = card.replace(card.split("```")[1], "")
    assert shown in prose
    assert "<b>" not in prose
    assert "| degeneration | < 0.5 | 0.900 |" in card
    assert "No ground truth was used" in card
    assert "- 1\\.mp4\n- 3\\.mp4\n" in card
    code, _, err = cli("decompose", clips / "0.mp4", "--model", "new/own", "--out", "results")
    assert code == 0, err
    assert json.loads((tmp_path / "results/0.mp4/result.json").read_text())["status"] == "ok"

    assert cli(*given, *FAST)[0] == 73
    code, _, err = cli(*given, *FAST, "--overwrite", "--set", "name=again")
    assert code == 0, err
    assert load_model("new/own").spec.name == "again"


@pytest.mark.parametrize("rate", [1e-3, 1e4])
def test_what_is_written_is_better_and_otherwise_nothing_is(cli, tmp_path, parent, clips, rate):
    before, weights = found(tmp_path), found(parent)
    given = ("--model", parent, "--out", "a/new", "--steps", 3, "--learning-rate", rate)
    code, out, err = cli("--json", "adapt", clips, *given, *FAST)
    assert found(parent) == weights
    last = json.loads(out.splitlines()[-1])
    gain = last["before"]["degeneration"] - last["after"]["degeneration"]
    if code == 0:
        assert gain >= 0.02
        assert load_model("a/new").step == last["step"] > 0
        return
    assert (code, gain, last["adapted"]) == (3, 0, False), err
    assert found(tmp_path) == before
    assert "is unchanged" in err
    assert "Nothing was written" in err


def test_made_worse_is_rolled_back(cli, tmp_path, parent, clips, monkeypatch):
    scores = iter((0.5, 0.6, 0.7, 0.8))
    monkeypatch.setattr(SlotTask, "evaluate", lambda self: {"degeneration": next(scores)})
    before, weights = found(tmp_path), found(parent)
    given = ("--model", parent, "--out", "new", "--steps", 9, "--set", "train.patience=2")
    code, _, err = cli("adapt", clips, *given, *FAST)
    assert code == 3, err
    assert next(scores) == 0.8  # after two evaluations without a better one, no more was taken
    assert (found(tmp_path), found(parent)) == (before, weights)


@pytest.mark.usefixtures("gets_better")
def test_numbers_that_are_not_finite_leave_what_was_better_before(cli, parent, clips, monkeypatch):
    monkeypatch.setenv("SLOTCLI_FAULT", ",".join(f"nan@step:{n}" for n in range(5, 99)))
    given = ("--model", parent, "--out", "new", "--steps", 9, "--learning-rate", 0.01)
    code, _, err = cli("adapt", clips, *given, *FAST, "--set", "train.evaluate_every=4")
    assert code == 0, err
    assert "What came before that is judged" in err
    assert load_model("new").step == 4


@pytest.mark.usefixtures("gets_better")
@pytest.mark.parametrize(
    ("fault", "stopped"), [("term@step:2", 143), ("enospc@save:6", 74), ("enospc@save:18", 74)]
)
def test_stopped_and_run_again_is_the_undisturbed_run(
    cli, tmp_path, parent, clips, monkeypatch, fault, stopped
):
    def given(out: str) -> list[object]:
        places = ["adapt", clips, "--model", parent, "--out", f"{out}/new", "--steps", 3]
        return [*places, "--learning-rate", 0.01, *FAST]

    assert cli(*given("quiet"))[0] == 0
    monkeypatch.setattr(faults, "_passes", Counter())
    monkeypatch.setenv("SLOTCLI_FAULT", fault)
    code, _, err = cli(*given("told"))
    assert code == stopped, err
    assert not (tmp_path / "told/new").exists()
    monkeypatch.delenv("SLOTCLI_FAULT")
    other = cli(*given("told"), "--seed", 1)
    assert (other[0], "another adaptation was stopped here" in other[2]) == (73, True)
    code, _, err = cli(*given("told"))
    assert code == 0, err
    assert [path.name for path in (tmp_path / "told").iterdir()] == ["new"]
    for name in ("quiet", "told"):
        tensors, facts = read_tensors(tmp_path / name / "new" / WEIGHTS)
        facts["provenance"].pop("command")
        kept = ({key: value.tolist() for key, value in tensors.items()}, facts)
        undisturbed = kept if name == "quiet" else undisturbed
    assert kept == undisturbed


@pytest.mark.usefixtures("gets_better")
def test_of_one_clip_windows_are_held_out_and_that_is_said(cli, tmp_path, parent):
    make_clip(tmp_path / "one" / "long.mp4", 60, size=(16, 16))
    given = ("--model", parent, "--out", "new", "--steps", 1, "--learning-rate", 0.1)
    code, _, err = cli("adapt", "one", *given, *FAST)
    assert code == 0, err
    assert "too few clips to hold whole ones out" in err
    card = (tmp_path / "new/README.md").read_text()
    assert "On 2 held-out windows" in card
    assert "- long\\.mp4\\, frames 40 to 45\n" in card


def test_true_masks_are_reported_and_choose_nothing(cli, tmp_path, parent, monkeypatch):
    made = ("--tier", "A", "--clips", 4, "--frames", 3, "--size", 32, "--device", "cpu")
    assert cli("data", "synth", "scenes", *made)[0] == 0
    monkeypatch.setattr("slotcli.training.adapt.recipe.MIN_GAIN", -1.0)
    given = ("--model", parent, "--out", "new", "--steps", 1)
    code, out, err = cli("--json", "adapt", "scenes", *given, *FAST)
    assert code == 0, err
    last = json.loads(out.splitlines()[-1])
    assert all(
        -1 <= last[when][name] <= 1 for when in ("before", "after") for name in ("ari", "miou")
    )
    card = (tmp_path / "new/README.md").read_text()
    assert "## Against ground truth" in card
    assert "nothing was chosen by these figures" in card
    shutil.rmtree(tmp_path / "scenes/masks/A-2")
    code, out, err = cli("--json", "adapt", "scenes", *given, "--overwrite", *FAST)
    assert code == 0, err
    assert "no masks of A-2.mp4. True scores are not shown." in err
    assert "## Against ground truth" not in (tmp_path / "new/README.md").read_text()


def test_what_cannot_be_asked_is_two_lines_and_leaves_nothing(
    cli, tmp_path, parent, clips, tiny_codec
):
    (tmp_path / "empty").mkdir()
    make_clip(tmp_path / "short" / "a.mp4", 5, size=(16, 16))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.mp4").write_text("not a video")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes.txt").write_text("mine")
    before, weights = found(tmp_path), found(parent)
    usual = {"folder": clips, "--model": parent, "--out": "x/new", "--steps": 1}
    refused = [
        (66, {"folder": "nowhere"}, "no such folder"),
        (66, {"folder": "empty"}, "no data that is known"),
        (66, {"folder": "text"}, "no readable video"),
        (65, {"folder": "short"}, "Give 4 clips"),
        (66, {"--model": "nowhere"}, "no such model"),
        (69, {"--model": "slotdiffusion-movi-d"}, "no weights"),
        (2, {"--model": tiny_codec}, "is a codec"),
        (73, {"--out": "there"}, "exists already"),
        (73, {"--out": "there", "--overwrite": None}, "other things"),
        (2, {"--out": parent, "--overwrite": None}, "never changed"),
        (2, {"--out": clips / "new"}, "may not lie in each other"),
        (2, {"--set": "num_slots=5"}, "only the training"),
        (78, {"--set": "train.stepz=5"}, "train.stepz"),
        (78, {"--learning-rate": 0}, "train.learning_rate"),
        (2, {"--set": "train.patience=0"}, "not be evaluated"),
    ]
    for expected, changed, said in refused:
        folder, *options = (usual | changed).items()
        words = [str(part) for pair in options for part in pair if part is not None]
        code, out, err = cli("--quiet", "adapt", folder[1], *words, "--device", "cpu")
        assert (code, out) == (expected, ""), (changed, err)
        assert said in err, (changed, err)
        told = [line for line in err.splitlines() if not line.startswith("warning")]
        assert len(told) == 2, err
        assert (found(tmp_path), found(parent)) == (before, weights), changed


@pytest.mark.usefixtures("gets_better")
@pytest.mark.parametrize("decoder", ["patch_mlp", "slot_mixer"])
def test_a_model_on_a_transformer_adapts_all_but_its_backbone(
    cli, tmp_path, clips, feature_specs, decoder
):
    # Its backbone's file is needed no more: the weights are the model's.
    own = feature_specs[decoder]
    train = own.train.model_copy(update={"backbone": "dinov2-vits14"})
    parent = tmp_path / "slotcontrast-tiny"
    torch.manual_seed(0)
    tensors = build(own).state_dict()
    save_model(parent / WEIGHTS, own.model_copy(update={"train": train}), tensors, 7, {})
    code, out, err = cli(
        *["--json", "adapt", clips, "--model", parent, "--out", "own", "--steps", 2],
        *["--learning-rate", 1e-3, *FAST],
    )
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[1]["features"] > 0
    assert ("slot_contrast" if decoder == "patch_mlp" else "similarity") in rows[1]
    new, _ = read_tensors(tmp_path / "own" / WEIGHTS)
    changed = {name for name, tensor in tensors.items() if not torch.equal(tensor, new[name])}
    assert any(name.startswith("decoder.") for name in changed)
    assert any(name.startswith("encoder.corrector.") for name in changed)
    assert not any(name.startswith("encoder.backbone.") for name in changed)
    code, _, err = cli("decompose", clips / "0.mp4", "--model", "own", "--out", "results")
    assert code == 0, err
