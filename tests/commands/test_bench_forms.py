"""bench kernels, decompose, reconstruct and train through the command line."""

import json
import subprocess

import pytest
from made_clips import make_clip
from warm_process import warm_python

from slotcli.bench import comparison
from slotcli.bench.timing import Timing

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
ENVIRONMENT = {
    "device", "device_name", "processor_features", "threads", "load_average", "torch", "triton",
    "python", "version", "date", "command",
}  # fmt: skip


def test_kernels_write_every_round_and_what_they_were_measured_on(cli, tmp_path):
    code, out, err = cli(
        "--json", "bench", "kernels", "mask_argmax", *ON, "--quick", "-o", "k.json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert json.loads((tmp_path / "k.json").read_text()) == found
    assert found["schema"] == "slotcli.bench.kernels/1"
    assert found["environment"].keys() == ENVIRONMENT
    assert found["roofline"]["copy_bytes_per_second"] > 0
    assert found["roofline"]["flops_per_second"].keys() == {"fp32", "bf16"}
    assert {row["operation"] for row in found["rows"]} == {"mask_argmax"}
    for row in found["rows"]:
        assert len(row["ours"]["runs"]) == len(row["plain"]["cpu_runs"]) == 1
        assert row["compiled"] is None
        assert row["errors"]["ours"] < 0.01
        assert row["slower_than_plain"] == (row["ours_to_plain"] > 1)
    assert "--compile" in found["reasons"]["compiled fp32"]
    assert found["wrong"] == 0


@pytest.fixture
def slow_ours(monkeypatch):
    """Ours takes 3 s and the plain form 2, whatever they do."""
    given = {"ours": 3.0, "plain": 2.0, "copy": 1.5}

    def made_up(arms, **options):
        return {name: Timing(1, (given[name],), (given[name],)) for name in arms}

    monkeypatch.setattr(comparison, "interleaved", made_up)


@pytest.mark.usefixtures("slow_ours")
def test_a_shape_at_which_ours_is_slower_is_marked_and_counted(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    command = ["bench", "kernels", "mask_argmax", *ON, "--quick"]
    code, out, err = cli(*command)
    assert code == 0, err
    rows = [line for line in out.splitlines() if "1.50 SLOWER" in line]
    assert rows
    assert all("50%" in row for row in rows)
    assert f"{len(rows)} of {len(rows)} are SLOWER than plain PyTorch." in out
    code, out, _ = cli("--json", *command)
    assert json.loads(out)["slower_than_plain"] == len(rows)


def test_decompose_says_what_half_precision_changes(cli, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    command = ["bench", "decompose", str(tiny_model), *ON, "--quick", "--frames", 2]
    code, out, err = cli("--json", *command, "-o", "d.json")
    assert code == 0, err
    found = json.loads(out)
    assert found["schema"] == "slotcli.bench.decompose/1"
    assert found["model"]["weights_sha256"]
    (work,) = found["work"]
    assert {"ours fp32", "plain fp32"} <= work["arms"].keys()
    assert work["arms"]["ours fp32"]["frames_per_second"] > 0
    assert json.loads((tmp_path / "d.json").read_text()) == found
    code, out, err = cli(*command, "-o", "d.json", "--overwrite")
    assert code == 0, err
    for expected in ("encode 2 frames", "slots_error", "mask_pixels_changed", "plain fp32"):
        assert expected in out, expected
    assert "compiled fp32" in err


def test_reconstruct_shows_pictures_beside_times(cli, tiny_model):
    code, out, err = cli(
        "--json", "bench", "reconstruct", tiny_model, *ON, "--quick", "--frames", 1
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["schema"] == "slotcli.bench.reconstruct/1"
    assert [work["name"] for work in found["work"]] == ["U-Net forward, 8 frames", "draw 1 frame"]
    assert found["work"][1]["arms"]["ours fp32"]["psnr_db"] > 20


# Each of its processes would load torch again, which takes longer than what it is there to measure.
FORKING = """
import multiprocessing
import pickle

from slotcli.bench import own_process

from slotcli.bench import training as train_bench

run = own_process.in_own_process
context = multiprocessing.get_context("fork")
multiprocessing.get_context = lambda _: context
train_bench.in_own_process = lambda *work: run(*pickle.loads(pickle.dumps(work)))

from slotcli.__main__ import main
main()
"""


def test_train_shows_rates_and_memory(tiny_model, tmp_path):
    command = ["--json", "bench", "train", tiny_model, *ON, "--quick", "--frames", 1]
    ran = subprocess.run(
        [*warm_python(), "-c", FORKING, *map(str, command)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found["schema"] == "slotcli.bench.train/1"
    assert (found["batch"], found["clip_length"]) == (1, 1)
    arms = found["arms"]
    assert {"ours fp32", "plain fp32"} <= arms.keys()
    assert arms["ours fp32"]["peak_bytes"] > 2**20
    assert arms["ours fp32"]["loss_error"] < 1e-3
    for arm in arms.values():
        assert arm["utilisation"] > 0
    assert 0 <= found["data_wait"] <= 1


def test_a_step_that_does_not_fit_gives_exit_code_3(cli, tiny_model, monkeypatch):
    from slotcli.bench import training as train_bench

    def full(task, argument):
        return None, "memory ran out: no room."

    monkeypatch.setattr(train_bench, "in_own_process", full)
    code, _, err = cli("bench", "train", tiny_model, *ON)
    assert code == 3
    assert "no room" in err


@pytest.mark.parametrize("verb", ["decompose", "reconstruct", "train"])
@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["no-such-model"], 66, "no-such-model"),
        (["vqvae-tiny-64"], 2, "codec"),
        (["tiny-64", "--out", "there.json"], 73, "there.json"),
        (["tiny-64", "--rounds", "0"], 2, "rounds"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, tmp_path, verb, arguments, expected, said):
    (tmp_path / "there.json").write_text("{}")
    code, _, err = cli("bench", verb, *arguments, *ON)
    assert code == expected
    assert said in err
    assert (tmp_path / "there.json").read_text() == "{}"


def test_an_unknown_operation_is_refused(cli):
    code, _, err = cli("bench", "kernels", "no_such_operation", *ON)
    assert code == 2
    assert "no_such_operation" in err


def test_a_clip_is_timed_from_its_file_to_its_result(cli, tiny_model, tmp_path):
    make_clip(tmp_path / "clip.mp4", count=5)
    code, out, err = cli(
        "--json", "bench", "decompose", str(tiny_model), "--clip", "clip.mp4", *ON, "--rounds", "2"
    )
    assert code == 0, err
    found = json.loads(out)["end_to_end"]
    assert found["clip"] == "clip.mp4"
    shares = {name: own["share"] for name, own in found["stages"].items()}
    assert found["bottleneck"] == max(shares, key=shares.__getitem__)
    assert found["whole"]["frames"] == found["codec_alone"]["frames"] == 5
    for stage in ("decode", "model", "write", "overlay", "page"):
        busy = found["stages"][stage]["busy_seconds"]
        assert all(0 < own <= run for own, run in zip(busy, found["whole"]["runs"], strict=True))
        bound = found["stages"][stage]["frames_per_second_bound"]
        assert bound >= 5 / max(found["whole"]["runs"])
    assert found["without_overlay"]["frames"] == 5
    codec = sorted(found["codec_alone"]["runs"])
    assert found["share_of_codec"] == pytest.approx(
        sum(codec) / sum(found["whole"]["runs"]), rel=1e-6
    )
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".mp4"] == ["clip.mp4"]


def test_a_folder_or_a_broken_file_is_no_clip_to_time(cli, tiny_model, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no clip")
    for name, wanted, why in ((".", 2, "is a folder"), ("broken.mp4", 65, "broken.mp4")):
        code, _, err = cli("bench", "decompose", str(tiny_model), "--clip", name, *ON, "--quick")
        assert code == wanted
        assert why in err
        assert "Traceback" not in err
