"""Networks that learned nothing: the audit names what they fail, and its exit code is 3."""

import json

import pytest
from test_degenerate_seed import DEFINITION

pytestmark = pytest.mark.slow

ON = ["--device", "cpu", "--threads", "1"]
CLIPS = ["--data", "synth:A", "--clips", "3", "--frames", "4"]


@pytest.fixture
def few_steps(cli, tmp_path):
    """A network after 20 training steps, which knows no object."""
    (tmp_path / "model.toml").write_text(DEFINITION)
    code, _, err = cli(
        *("train", "--config", "model.toml", "--out", "run", *ON),
        *("--set", "train.steps=20", "--set", "train.data.clips=8"),
    )
    assert code == 0, err
    return tmp_path / "run"


def _audited(cli, model):
    code, out, err = cli("--json", "audit", "--model", model, *CLIPS, *ON)
    found = json.loads(out)
    assert (code, found["passed"]) == (3, False), found["sentence"]
    assert found["sentence"].startswith("Not passed: ")
    assert "did not pass the audit" in err
    return found


def test_twenty_steps_do_not_pass(cli, few_steps):
    found = _audited(cli, few_steps)
    assert found["checks"]["slot_information_ratio"] is False


def test_an_untrained_network_does_not_pass(cli, tiny_model):
    _audited(cli, tiny_model)


def test_evaluate_says_the_sentence_of_its_audit_and_warns_of_nothing_beside(cli, tiny_model):
    code, out, err = cli("evaluate", "--model", tiny_model, *CLIPS, *ON, "--render", "0")
    assert code == 0
    assert out.splitlines()[-1].startswith("Not passed: ")
    assert "against true masks trivial decompositions are no worse" in out.splitlines()[-1]
    assert "Passed." not in out
    assert "no better than" not in err
