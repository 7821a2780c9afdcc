import json

import pytest

from slotcli.bench import complexity as measured

pytestmark = pytest.mark.slow

DEFINITION = """
kind = "slot_model"
name = "tiny-steve"
size = [16, 16]
num_slots = 3
slot_dim = 16

[encoder]
backbone = { kind = "compact_cnn", channels = 8 }
predictor = { layers = 1 }

[decoder]
kind = "token_transformer"
codec = { kind = "dvae", channels = 8, num_codes = 16 }
blocks = 1
heads = 2

[train]
codec = "none"
steps = 1
batch_size = 64
clip_length = 3
learning_rate = 1e-3
decoder_learning_rate = 1e-3
"""
ON = ["--device", "cpu", "--threads", "1"]
TIMING = {
    "frames",
    "median_seconds",
    "lowest_seconds",
    "highest_seconds",
    "median_cpu_seconds",
    "seconds_per_frame",
    "runs",
    "cpu_runs",
}


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text(DEFINITION)
    return path


def test_the_whole_record_of_a_quick_look(cli, definition, tmp_path):
    command = ("bench", "complexity", definition, "--quick", "--uncached", *ON)
    code, out, err = cli("--json", *command, "--out", "deep/costs.json")
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((tmp_path / "deep/costs.json").read_text()) == found
    assert (found["schema"], found["weights"]) == ("slotcli.complexity/1", "random")
    assert found["environment"].keys() == {
        "device", "device_name", "memory_is", "threads", "load_average", "dtype",
        "tf32_convolutions", "torch", "python", "version", "date", "command", "triton",
        "processor_features",
    }  # fmt: skip
    (system,) = found["systems"]
    assert system.keys() == {
        "name", "decoder", "batch", "clip_length", "parameters", "trainable_parameters",
        "encode_flops_per_frame", "training_step_flops_per_frame", "training_step",
        "training_step_peak_bytes", "encode", "render", "render_uncached", "reconstruction",
        "reasons",
    }  # fmt: skip
    assert (system["name"], system["batch"], system["clip_length"]) == ("tiny-steve", 1, 3)
    for name in ("training_step", "encode", "render", "render_uncached"):
        assert system[name].keys() == TIMING
        assert len(system[name]["runs"]) == 1
    assert system["training_step_peak_bytes"] > 0
    assert system["reconstruction"]["extrapolated_from_drawn_frames"] == 1
    assert system["reasons"] == {}


@pytest.fixture
def here(monkeypatch):
    """Measure in this process, which is quicker."""
    monkeypatch.setattr(measured, "in_own_process", lambda task, argument: (task(argument), ""))


@pytest.mark.usefixtures("here")
def test_the_table_shows_systems_side_by_side_and_says_what_is_extrapolated(cli, definition):
    other = definition.with_name("other.toml")
    other.write_text(DEFINITION.replace("tiny-steve", "tiny-slate"))
    code, out, err = cli(
        "bench", "complexity", definition, other, "--batch", 2, "--frames", 1,
        "--repeats", 1, "--draw", 2, *ON,
    )  # fmt: skip
    assert code == 0, err
    for expected in ("tiny-steve", "tiny-slate", "2 x 1", "draw 2", "EXTRAPOLATED", "random"):
        assert expected in out, expected


def test_what_does_not_fit_is_shown_and_gives_exit_code_3(cli, definition, monkeypatch):
    def full(task, argument):
        return None, "memory ran out: no room."

    monkeypatch.setattr(measured, "in_own_process", full)
    code, out, err = cli("--json", "bench", "complexity", definition, *ON)
    assert code == 3
    assert json.loads(out)["systems"][0]["training_step"] is None
    assert "tiny-steve" in err
    _, out, err = cli("bench", "complexity", definition, *ON)
    assert "tiny-steve, training_step: memory ran out: no room." in err
    assert "parameters" in out


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["no-such-model"], 66, "no-such-model"),
        (["vqvae-movi-d"], 2, "codec"),
        (["savi-movi-d", "--out", "there.json"], 73, "there.json"),
        (["savi-movi-d", "--batch", "0"], 2, "batch"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, tmp_path, arguments, expected, said):
    (tmp_path / "there.json").write_text("{}")
    code, _, err = cli("bench", "complexity", *arguments, *ON)
    assert code == expected
    assert said in err
    assert (tmp_path / "there.json").read_text() == "{}"


def test_all_systems_named_by_default_have_definitions():
    from slotcli.checkpoint import find_definition
    from slotcli.commands.bench.complexity import IMAGE_SYSTEMS, VIDEO_SYSTEMS
    from slotcli.definition import load_definition
    from slotcli.spec import SlotModelSpec

    for names, video in ((VIDEO_SYSTEMS, True), (IMAGE_SYSTEMS, False)):
        specs = [load_definition(find_definition(name)) for name in names]
        assert all(isinstance(spec, SlotModelSpec) for spec in specs)
        assert [spec.encoder.predictor is not None for spec in specs] == [video] * 3
        kinds = [spec.decoder.kind for spec in specs]
        assert kinds == ["spatial_broadcast", "token_transformer", "latent_diffusion"]
