"""Models that decode a transformer's features: their losses fall, resume, and need a backbone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, raise_signal
from statistics import fmean

import pytest
import torch
from safetensors.torch import load_file, save_file

from slotcli.build import build_model
from slotcli.checkpoint import WEIGHTS
from slotcli.data.rendered import SynthDataset
from slotcli.definition import definition_text
from slotcli.errors import ConfigError, DataError
from slotcli.model import normalise
from slotcli.published.vit_weights import backbone_tensors, load_backbone_into
from slotcli.spec import OptimiserSpec, SlotModelSpec, SynthSpec
from slotcli.training.auxiliary.contrast import slot_contrast
from slotcli.training.auxiliary.features import feature_losses, similarity_loss, time_similarity
from slotcli.training.loop import train
from slotcli.training.optimiser import learning_rate
from slotcli.training.tasks.slots import SlotTask
from slotcli.types import ClipBatch

Cli = Callable[..., tuple[int, str, str]]

CPU = torch.device("cpu")
STEPS = 15


@pytest.fixture
def backbone(tmp_path: Path, feature_specs: dict[str, SlotModelSpec]) -> Path:
    torch.manual_seed(5)
    tensors = build_model(feature_specs["patch_mlp"]).encoder.backbone.state_dict()
    tensors |= {"norm.weight": torch.ones(16), "norm.bias": torch.zeros(16)}  # as timm's
    path = tmp_path / "vit.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("name", ["patch_mlp", "slot_mixer"])
def test_a_resumed_run_has_the_same_bits(
    name: str, feature_specs: dict[str, SlotModelSpec], tmp_path: Path
) -> None:
    clips = SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (28, 28))

    def interrupt(step: int, *_: object) -> None:
        if step == 4:
            raise_signal(SIGINT)

    def run(out: Path, progress: Callable[..., None], *, resume: bool = False) -> None:
        spec = feature_specs[name]
        train_spec = spec.train.model_copy(update={"steps": 8, "evaluate_every": 4})
        spec = spec.model_copy(update={"train": train_spec})
        torch.manual_seed(0)
        model = build_model(spec)
        # One clip is too few to audit, which would take most of the time.
        task = SlotTask(spec, model, clips, ClipBatch(clips.clip(0, 0, 3).frames[None]), CPU)
        assert {"features", "slot_contrast" if name == "patch_mlp" else "similarity"} < set(
            task.figures
        )
        frozen = {p for p in model.encoder.backbone.parameters()}
        trained = [p for group in task.parameter_groups() for p in group["params"]]
        assert not frozen.intersection(trained)
        train(spec, task, out, resume=resume, command=["tests"], progress=progress)

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(whole, lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run(halves, interrupt)
    run(halves, lambda *_: None, resume=True)
    assert (whole / WEIGHTS).read_bytes() == (halves / WEIGHTS).read_bytes()
    rows = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["features"] > 0


def test_the_backbone_comes_from_a_file(
    feature_specs: dict[str, SlotModelSpec], backbone: Path, tmp_path: Path, cli: Cli
) -> None:
    spec = feature_specs["slot_mixer"]
    model = build_model(spec)
    own = spec.train.model_copy(update={"backbone": str(backbone)})
    digest = load_backbone_into(model, spec.model_copy(update={"train": own}))
    assert digest == hashlib.sha256(backbone.read_bytes()).hexdigest()
    loaded = model.encoder.backbone.state_dict()
    theirs = load_file(backbone)
    assert theirs.keys() - loaded.keys() == {"norm.weight", "norm.bias"}
    assert all(torch.equal(loaded[key], theirs[key]) for key in loaded)

    config = tmp_path / "model.toml"
    config.write_text(definition_text(spec))
    code, printed, said = cli(
        "--json",
        "train",
        "--config",
        config,
        "--out",
        tmp_path / "run",
        "--dry-run",
        "--set",
        f"train.backbone={backbone}",
    )
    assert code == 0, said
    facts = json.loads(printed.splitlines()[-1])
    frozen = sum(value.numel() for value in loaded.values())
    assert facts["parameters"] - facts["trained_parameters"] == frozen


def test_without_a_backbone_nothing_is_trained(
    feature_specs: dict[str, SlotModelSpec], tmp_path: Path, cli: Cli
) -> None:
    config = tmp_path / "model.toml"
    config.write_text(definition_text(feature_specs["patch_mlp"]))
    code, _, said = cli("train", "--config", config, "--out", tmp_path / "run")
    assert code == 69
    assert "train.backbone=FILE" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["patch_mlp", "slot_mixer"])
def test_each_loss_falls_by_itself(name: str, feature_specs: dict[str, SlotModelSpec]) -> None:
    torch.manual_seed(0)
    model = build_model(feature_specs[name]).train()
    model.encoder.backbone.requires_grad_(False)
    frames = torch.rand(1, 3, 3, 28, 28, generator=torch.Generator().manual_seed(3)) * 2 - 1
    adam = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    history: dict[str, list[float]] = {}
    for _ in range(STEPS):
        losses = feature_losses(model.decoder, model.encoder(frames), 0.25)
        adam.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        adam.step()
        for term, value in losses.items():
            history.setdefault(term, []).append(value.item())
    assert history.keys() == ({"features"} | ({"similarity"} if name == "slot_mixer" else set()))
    for values in history.values():
        assert fmean(values[-3:]) < fmean(values[:3])


@pytest.mark.parametrize("name", ["patch_mlp", "slot_mixer"])
def test_the_loss_is_the_weighted_sum_on_the_corrected_slots(
    name: str, feature_specs: dict[str, SlotModelSpec]
) -> None:
    spec = feature_specs[name]
    torch.manual_seed(0)
    clips = SynthDataset(SynthSpec(mix={"A": 1.0}, clips=4, frames=3), (28, 28))
    model = build_model(spec).eval()  # drawn slots are the same twice
    task = SlotTask(spec, model, clips, ClipBatch(clips.clip(0, 0, 3).frames[None]), CPU)
    batch = task.batch(0)
    loss, figures = task.loss(batch, 0)
    track = model.encoder(normalise(batch.frames))
    wanted = feature_losses(model.decoder, track, spec.train.similarity_temperature)
    total = wanted["features"]
    if name == "patch_mlp":
        wanted["slot_contrast"] = slot_contrast(track.slots)
        total = total + 0.5 * wanted["slot_contrast"]
    else:
        total = total + 0.1 * wanted["similarity"]
    assert figures == {term: pytest.approx(value.item()) for term, value in wanted.items()}
    assert loss.item() == pytest.approx(total.item())


def test_similarity_against_a_loop() -> None:
    keys = torch.randn(1, 2, 4, 3, generator=torch.Generator().manual_seed(2)).double()
    keys[0, 0, 0] = -keys[0, 1].sum(0) * 1e-3 - 1
    keys[0, 1] = keys[0, 1].abs()  # the first patch points away from all of them
    target = time_similarity(keys, 0.15)
    now, then = (part / part.norm(dim=-1, keepdim=True) for part in keys[0])
    for patch in range(4):
        cosines = [float(now[patch] @ other) for other in then]
        weights = [torch.tensor(c / 0.15).exp().item() if c >= 0 else 0.0 for c in cosines]
        total = sum(weights)
        wanted = [w / total if total else 0.25 for w in weights]
        assert target[0, 0, patch].tolist() == pytest.approx(wanted)
    assert target[0, 0, 0].tolist() == [0.25] * 4
    logits = target.clamp(min=1e-30).log()
    entropy = -(target * logits).sum(-1).mean().item()
    assert similarity_loss(logits, target).item() == pytest.approx(entropy)
    assert similarity_loss(torch.zeros_like(target), target).item() > entropy


def test_metas_register_layout_becomes_timms() -> None:
    theirs = {
        "cls_token": torch.full((1, 1, 2), 3.0),
        "register_tokens": torch.ones(1, 4, 2),
        "mask_token": torch.zeros(1, 2),
        "pos_embed": torch.arange(10.0).reshape(1, 5, 2),
        "blocks.0.norm1.weight": torch.ones(2),
        "blocks.1.norm1.weight": torch.ones(2),
        "norm.weight": torch.ones(2),
    }
    ours = backbone_tensors({f"teacher.{key}": value for key, value in theirs.items()}, 1)
    assert ours.keys() == {"cls_token", "reg_token", "pos_embed", "blocks.0.norm1.weight"}
    assert ours["cls_token"].flatten().tolist() == [3, 4]
    assert ours["pos_embed"].shape == (1, 4, 2)


def test_the_rate_halves_over_a_run_after_the_warm_up() -> None:
    spec = OptimiserSpec(
        steps=1000,
        batch_size=1,
        learning_rate=4e-4,
        decay="exponential",
        final_learning_rate=2e-4,
        warmup=0.1,
    )
    rates = [learning_rate(spec, 8e-4, step) for step in (0, 50, 100, 550, 1000)]
    assert rates == pytest.approx([0, 4e-4, 8e-4, 8e-4 * 0.5**0.5, 4e-4])


def test_a_file_of_another_network_is_refused(
    feature_specs: dict[str, SlotModelSpec], tmp_path: Path, cli: Cli
) -> None:
    config, wrong = tmp_path / "model.toml", tmp_path / "wrong.safetensors"
    config.write_text(definition_text(feature_specs["patch_mlp"]))
    save_file({"cls_token": torch.zeros(1, 1, 16)}, wrong)
    code, _, said = cli(
        "train", "--config", config, "--out", tmp_path / "run", "--set", f"train.backbone={wrong}"
    )
    assert code == DataError.exit_code
    assert "missing" in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"encoder": {"backbone": {"kind": "resnet18"}}}, "features of a vit"),
        ({"train": {"next_frame": 0.5}}, "decoders of frames"),
        ({"train": {"similarity_weight": 0.1}}, "slot_mixer"),
        ({"train": {"decay": "exponential"}}, "never reaches 0"),
        ({"encoder": {"initial_slots": "gaussian", "slot_bias": True}}, "have no number"),
    ],
)
def test_what_cannot_be_is_said(
    changes: dict, named: str, feature_specs: dict[str, SlotModelSpec]
) -> None:
    from slotcli.definition import parse_spec, spec_json

    values = spec_json(feature_specs["patch_mlp"])
    for table, own in changes.items():
        values[table] = {**values[table], **own}
    with pytest.raises(ConfigError, match=named):
        parse_spec(values, "test")
