from pathlib import Path

import pytest

from slotcli import __version__
from slotcli.checkpoint import DEFINITION
from slotcli.definition import load_definition
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.training.run_facts import RUN, read_starts, write_run_facts


def test_a_run_names_its_definition_and_every_start(
    tmp_path: Path, tiny_slot_spec: SlotModelSpec, tiny_codec_spec: CodecModelSpec
):
    run = tmp_path / "new/run"
    write_run_facts(run, tiny_codec_spec, ["slotcli", "pretrain"], 0, "fp32")
    write_run_facts(run, tiny_slot_spec, ["slotcli", "train"], 0, "fp32")
    write_run_facts(run, tiny_slot_spec, ["slotcli", "train", "--set", "x=1"], 500, "bf16")
    assert load_definition(run / DEFINITION) == tiny_slot_spec
    starts = read_starts(run)
    assert [(start["first_step"], start["command"][1:]) for start in starts] == [
        (0, ["train"]),
        (500, ["train", "--set", "x=1"]),
    ]
    assert [start["precision"] for start in starts] == ["fp32", "bf16"]
    assert {start["version"] for start in starts} == {__version__}
    assert {path.name for path in run.iterdir()} == {DEFINITION, RUN}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"starts": 7}', '{"starts": [7]}'])
def test_a_record_that_cannot_be_read_holds_no_starts(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / RUN).write_text(text)
    assert read_starts(tmp_path) == []
