import json
import shutil

import pytest
import torch

from slotcli import checkpoint, kernels
from slotcli.kernels import self_test

pytestmark = pytest.mark.slow

SHIPPED = ("things-128", "tiny-64")
OPERATIONS = {
    "group_norm_act",
    "mask_argmax",
    "nearest_code",
    "slot_cross_attention",
    "slot_read",
}


def test_everything_is_looked_at_and_passes(cli):
    code, out, err = cli("--json", "doctor", "--device", "cpu", "--threads", 1)
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["cpu"]["threads"] == 1
    assert (facts["device"], facts["gpu"]) == ("cpu", None)
    assert facts["kernels"] == {"backend": "reference", "why": "the tensors are on the cpu"}
    assert facts["disk"]["free_bytes"] > 0
    tested = {(test["operation"], test["dtype"]) for test in facts["operations"]}
    assert tested == {(name, dtype) for name in OPERATIONS for dtype in ("float32", "bfloat16")}
    assert set(kernels.__all__) >= OPERATIONS
    # Not everything is exact: it is float32 that is held against float64.
    assert 0 < max(test["error"] for test in facts["operations"]) < 0.02
    with_weights = {model["name"] for model in facts["models"] if model["sha256"]}
    assert with_weights == {f"{kind}{name}" for kind in ("", "vqvae-") for name in SHIPPED}


def test_people_get_lines(cli):
    code, out, _ = cli("doctor", "--kernels", "reference", "--out", "not/there/yet")
    assert code == 0
    assert "kernels: reference (--kernels reference)" in out.splitlines()
    assert "disk.folder: not/there/yet" in out.splitlines()
    assert "FAILED" not in out


def wrong_in_bfloat16(latents, codes):
    found = kernels.nearest_code(latents, codes)
    return found.flip(0) if latents.dtype == torch.bfloat16 else found


def test_an_operation_that_computes_something_else_is_found(cli, monkeypatch):
    monkeypatch.setattr(self_test, "nearest_code", wrong_in_bfloat16)
    code, out, err = cli("doctor", "--device", "cpu")
    assert code == 69
    failed = [line for line in out.splitlines() if "FAILED" in line]
    assert len(failed) == 1
    assert failed[0].split()[:2] == ["nearest_code,", "bfloat16"]
    assert len(err.splitlines()) == 2
    assert "nearest_code: results on cpu differ from the reference" in err


def failing_in_float32(attention, size):
    if attention.dtype == torch.float32:
        raise RuntimeError("no kernel image is available")
    return kernels.mask_argmax(attention, size)


def test_what_a_driver_raises_is_a_finding(cli, monkeypatch):
    monkeypatch.setattr(self_test, "mask_argmax", failing_in_float32)
    code, out, err = cli("--json", "doctor", "--device", "cpu")
    assert code == 69
    (failed,) = [test for test in json.loads(out)["operations"] if not test["passed"]]
    assert failed["error"] is None
    assert failed["failure"] == "RuntimeError: no kernel image is available"
    assert len(err.splitlines()) == 2


def test_damaged_weights_are_found(cli, tmp_path, monkeypatch):
    (intact,) = [path for path in checkpoint.model_folders() if path.name == "vqvae-tiny-64"]
    folder = shutil.copytree(intact, tmp_path / "mine")
    weights = folder / checkpoint.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1000])
    monkeypatch.setattr(checkpoint, "model_folders", lambda: [folder])
    code, out, err = cli("--json", "doctor", "--device", "cpu")
    assert code == 69
    (model,) = json.loads(out)["models"]
    assert model["sha256"] is None
    assert "unreadable" in model["problem"]
    assert "mine: cannot be loaded" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_triton_without_a_gpu_is_refused(cli):
    code, out, err = cli("doctor", "--kernels", "triton")
    assert (code, out) == (69, "")
    assert "no Triton kernel can run" in err
