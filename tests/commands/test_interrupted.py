"""Ctrl-C in the midst of each command: what it says of what is left is true."""

from pathlib import Path

import pytest

from slotcli.commands.meters import PlainMeter
from slotcli.definition import definition_text

pytestmark = pytest.mark.slow

CPU = ["--device", "cpu", "--threads", "1"]
SYNTH = ["data", "synth", "clips", "--tier", "A", "--size", "32", "--frames", "4", "--clips", "3"]
# Each with the update of its count at which it is stopped.
KEEPS = {
    "data synth": (["data", "synth", "more", *SYNTH[3:], *CPU], 2),
    "data convert": (["data", "convert", "clips/videos", "frames"], 2),
    "decompose": (["decompose", "clips/videos", "--model", "MODEL", "--out", "new", *CPU], 2),
    "train": (["train", "--config", "slots.toml", "--data", "clips", "--out", "run", *CPU], 2),
    "pretrain": (["pretrain", "--config", "codec.toml", "--data", "clips", "--out", "codec"], 2),
}
WRITES_NOTHING = {
    "reconstruct": ["reconstruct", "made/A-0.mp4", "--model", "MODEL", "--evaluations", "1", *CPU],
    "export": ["export", "made/A-0.mp4", "--out", "exported"],
    "report": ["report", "made/A-0.mp4"],
    "evaluate": ["evaluate", "--model", "MODEL", "--data", "clips", "--lpips", "off"],
    "audit": ["audit", "--model", "MODEL", "--data", "clips", "--frames", "4", *CPU],
    "data check": ["data", "check", "clips/videos"],
    "data index": ["data", "index", "clips/videos"],
}


@pytest.fixture
def workplace(cli, tmp_path, tiny_model, tiny_codec, tiny_codec_spec, tiny_slot_spec):
    (tmp_path / "codec.toml").write_text(definition_text(tiny_codec_spec))
    train = tiny_slot_spec.train.model_copy(update={"codec": str(tiny_codec)})
    slots = tiny_slot_spec.model_copy(update={"train": train})
    (tmp_path / "slots.toml").write_text(definition_text(slots))
    assert cli(*SYNTH, *CPU)[0] == 0
    return str(tiny_model)


def stopped_at(monkeypatch: pytest.MonkeyPatch, number: int) -> pytest.MonkeyPatch:
    """Stands for Ctrl-C: raises what the signal's handler does, at an update of a count."""
    updates = 0

    def update(self: PlainMeter, done: int, total: int | None, facts: str = "") -> None:
        nonlocal updates
        updates += 1
        if updates == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(PlainMeter, "update", update)
    return monkeypatch


def files(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("verb", KEEPS)
def test_what_was_finished_is_kept_and_the_same_command_resumes(
    cli, workplace, monkeypatch, verb, tmp_path
) -> None:
    arguments, number = KEEPS[verb]
    given = [workplace if text == "MODEL" else text for text in arguments]
    before = files(tmp_path)
    with monkeypatch.context() as patch:
        stopped_at(patch, number)
        code, _, err = cli(*given)
    assert code == 130
    told = ["error: Interrupted.", "  What was finished is kept. The same command resumes."]
    assert err.splitlines()[-2:] == told
    assert files(tmp_path) != before
    assert cli(*given)[0] == 0


@pytest.mark.parametrize("verb", WRITES_NOTHING)
def test_nothing_is_written_where_it_says_so(cli, workplace, monkeypatch, verb, tmp_path) -> None:
    made = ["decompose", "clips/videos/A-0.mp4", "--model", workplace, "--out", "made", *CPU]
    if "made/A-0.mp4" in WRITES_NOTHING[verb]:
        assert cli(*made)[0] == 0
    before = files(tmp_path)
    stopped_at(monkeypatch, 1)
    code, _, err = cli(*(workplace if text == "MODEL" else text for text in WRITES_NOTHING[verb]))
    assert code == 130
    assert err.splitlines()[-2:] == ["error: Interrupted.", "  Nothing was written."]
    assert files(tmp_path) == before


def test_starting_anew_is_not_called_resuming(cli, workplace, monkeypatch) -> None:
    stopped_at(monkeypatch, 1)
    code, _, err = cli(*SYNTH, "--overwrite", *CPU)
    assert code == 130
    assert err.endswith("is kept. With --overwrite the same command begins again.\n")
