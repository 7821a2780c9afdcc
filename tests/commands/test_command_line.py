"""Help pages, completion, refusals in words, and the README's tables."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import readme_tables
from PIL import Image

from slotcli.__main__ import EXIT_CODES
from slotcli.commands.command_line import first_sentence
from slotcli.commands.program import SENTENCES

COMMANDS = dict(readme_tables.commands())
GROUPS = ["slotcli", "slotcli data", "slotcli models", "slotcli config", "slotcli bench"]
TICS = ["manieth", "by and by", "gone on with", "goes on", "what rests", "is to be had", "a slot;"]


def option(command, name):
    return next((own for own in command.params if name in own.opts), None)


@pytest.fixture
def columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.parametrize("name", [*GROUPS, *COMMANDS])
@pytest.mark.usefixtures("columns")
def test_every_help_page_fits_80_columns_and_is_the_same_for_both_spellings(cli, name):
    words = name.split()[1:]
    code, out, err = cli(*words, "-h")
    assert (code, err) == (0, "")
    assert cli(*words, "--help")[1] == out
    lines = out.splitlines()
    examples = [line for line in lines if line.startswith("  slotcli ")]
    assert max(len(line) for line in lines if line not in examples) <= 80
    assert "<bool>" not in out
    assert "\u2502" not in out  # no boxes
    assert out.startswith(f"Usage: {name}")
    assert not [tic for tic in TICS if tic in out]


@pytest.mark.parametrize("name", [name for name in COMMANDS if COMMANDS[name].params])
@pytest.mark.usefixtures("columns")
def test_examples_name_their_command_and_options_that_exist(cli, name):
    _, out, _ = cli(*name.split()[1:], "-h")
    _, found, examples = out.partition("\nExamples:\n")
    if name == "slotcli models list":
        return
    assert found
    assert name in examples
    for line in examples.splitlines():
        for command in COMMANDS:
            if command in line:
                known = {opt for own in COMMANDS[command].params for opt in own.opts}
                words = line[line.index(command) :].split("|")[0].split(">")[0].split()
                assert {word for word in words if word.startswith("-") and word != "-"} <= known


def test_the_first_help_page_has_each_command_s_own_first_sentence():
    commands = dict(readme_tables.program().commands)
    assert {name: first_sentence(own.help) for name, own in commands.items()} == SENTENCES


def test_options_of_a_large_command_are_in_panels(cli):
    out = cli("decompose", "-h")[1]
    panels = ["Arguments", "Input", "Model", "Output", "Part of the clip", "Many clips"]
    places = [out.index(f"\n{panel}:\n") for panel in [*panels, "Computing", "Other", "Examples"]]
    assert places == sorted(places)


def test_exit_codes_are_listed_once_a_line_each(cli):
    lines = cli("--help")[1].splitlines()
    assert lines.count("Exit codes:") == 1
    listed = lines[lines.index("Exit codes:") + 1 :]
    assert [int(line.split()[0]) for line in listed] == list(EXIT_CODES)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_has_the_same_name_everywhere(name):
    command = COMMANDS[name]
    out = option(command, "-o")
    assert (out is None) == (option(command, "--out") is None)
    if out is not None:
        assert out is option(command, "--out")
    device = option(command, "--device")
    assert device is None or option(command, "--threads") is not None
    spellings = {opt for own in command.params for opt in (*own.opts, *own.secondary_opts)}
    assert not {"--no-overwrite", "--output", "--dest", "--no-quick"} & spellings


WRITERS = ["decompose", "reconstruct", "export", "pretrain", "train", "adapt", "evaluate"]
WRITERS += ["probe", "data synth", "data convert", "models import", "models pack", "config init"]


@pytest.mark.parametrize("name", [*WRITERS, *(f"bench {own}" for own in ("train", "kernels"))])
def test_every_command_that_writes_takes_out(name):
    assert option(COMMANDS[f"slotcli {name}"], "-o") is not None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_for_the_shell(cli, monkeypatch, shell):
    import shellingham

    monkeypatch.setattr(shellingham, "detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    code, out, _ = cli("--show-completion")
    assert code == 0
    assert "_SLOTCLI_COMPLETE" in out


def test_a_shell_is_told_the_options_and_choices(cli, monkeypatch):
    monkeypatch.setenv("_SLOTCLI_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "slotcli decompose --mas")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert cli()[1].split() == ["--masks"]
    monkeypatch.setenv("COMP_WORDS", "slotcli decompose --masks ")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert {"png", "coco", "alpha"} <= set(cli()[1].split())


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["decompose", ""], "An argument"),
        (["decompose", "--", ""], "An argument"),
        (["decompose", "x.mp4", "-o", ""], "-o"),
        (["decompose", "x.mp4", "--out="], "--out"),
        (["decompose", "x.mp4", "--model", "  "], "--model"),
        (["train", "--config", "", "-o", "run"], "--config"),
        (["info", ""], "An argument"),
        (["data", "index", ""], "An argument"),
        (["audit", "--results", ""], "--results"),
        (["evaluate", "--model", "tiny-64", "--data="], "--data"),
        (["config", "show", "tiny-64", "--set", ""], "--set"),
        (["models", "pack", "run", "-o", ""], "-o"),
    ],
)
def test_an_empty_word_is_refused_in_every_command(cli, tmp_path, given, named):
    code, out, err = cli(*given)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {named} is empty.")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (["decompose", "https://example.org/clip.mp4"], "Download it first"),
        (["decompose", "rtsp://camera/1"], "Download it first"),
        (["decompose", "www.youtube.com/watch?v=1"], "Download it first"),
        (["info", "s3://bucket/clip.mp4"], "Download it first"),
        (["adapt", "http://example.org/clips", "-o", "new"], "Download it first"),
        (["train", "--config", "tiny-64", "--data=gs://bucket", "-o", "run"], "Download it first"),
        (["decompose", "x.mp4", "-o", "s3://bucket/out"], "upload it afterwards"),
        (["decompose", "file:///videos/my%20clip.mp4"], "/videos/my clip.mp4"),
    ],
)
def test_a_url_is_answered_with_advice(cli, tmp_path, given, advice):
    code, _, err = cli(*given)
    assert code == 66
    assert "not URLs" in err
    assert advice in err
    assert "no such file" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["decompose", "x", "--masks", "png,foo"], "--masks foo: no such choice."),
        (["decompose", "x", "--masks", "png,,coco"], "--masks png,,coco: no such choice."),
        (["data", "synth", "d", "--masks", "coco"], "--masks coco: no such choice."),
        (["bench", "kernels", "slot_red"], "OPERATION slot_red: no such choice."),
        (["decompose", "x", "--fit", "y"], "--fit y: choose one of keep, squeeze, crop."),
        (["decompose", "x", "--start", "-1"], "--start -1: has to be 0 or more."),
        (["decompose", "x", "--end", "soon"], "--end soon: not a number."),
        (["decompose", "x", "--stride", "1.5"], "--stride 1.5: not a whole number."),
        (["decompose", "x", "--max-bad", "2"], "--max-bad 2: has to be 1 or less."),
        (["decompose", "x", "--max-bad", "nan"], "--max-bad nan: "),
        (["data", "synth", "d", "--size", "64,96"], "--size 64,96: not a size."),
        (["data", "synth", "d", "--tier", "Z"], "--tier Z: no such tier."),
        (["train", "--config", "m", "-o", "r", "--seeds", "0,x"], "--seeds 0,x: not a list"),
        (["train", "--config", "m", "-o", "r", "--seeds", "1,1"], "--seeds 1,1: not a list"),
        (["reconstruct", "x", "--keep", "1,x"], "--keep 1,x: x is not a number from 0."),
        (["reconstruct", "x", "--drop", "1,"], "--drop 1,: an empty part is not"),
        (["data", "synth"], "The output is missing."),
        (["data", "synth", "a", "-o", "b"], "The output is given twice"),
        (["bench", "train", "a", "--model", "b"], "MODEL is given twice."),
    ],
)
def test_lists_ranges_and_choices_are_refused_in_words(cli, tmp_path, given, said):
    code, _, err = cli(*given)
    assert code == 2
    assert f"error: {said}" in err
    assert not any(word in err for word in ("Value error", "Input should", "Traceback"))
    assert not list(tmp_path.iterdir())


def test_lists_with_commas_are_taken(cli, tmp_path):
    chosen = ["--tier", "A", "--clips", 1, "--frames", 2, "--size", "16x24", "--device", "cpu"]
    code, _, err = cli("data", "synth", "-o", "made", *chosen, "--masks", "png,ffv1")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "made/masks").rglob("*")}
    assert any(name.endswith(".mkv") for name in names)
    assert any(name.endswith(".png") for name in names)


def test_a_table_in_a_pipe_is_as_wide_as_it_has_to_be(cli, tmp_path, tiny_model):
    name = "a-clip-with-a-long-name" * 6
    (tmp_path / name).mkdir()
    for number in range(3):
        Image.new("RGB", (16, 16)).save(tmp_path / name / f"{number}.png")
    chosen = ["--dry-run", "--model", tiny_model, "--device", "cpu", "--threads", 1]
    code, out, err = cli("decompose", name, "absent.mp4", *chosen)
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.strip().startswith(name))
    assert row.split()[:3] == [name, f"slotcli-out/{name}", "3"]
    assert "absent.mp4: there is no such file." in out
    assert "Estimates." in out
    assert "\u2026" not in out
    # A second table, and a second long cell.
    code, out, _ = cli("models", "show", "slotdiffusion-movi-d")
    assert code == 0
    assert "slotdiffusion-movi-d/model.toml" in out
    row = json.loads(cli("--json", "decompose", name, *chosen)[1])
    low, high = row["model_seconds_range"]
    assert low <= row["model_seconds"] <= high


@pytest.mark.parametrize(("piped", "said"), [(b"", "is empty"), (b"text\n" * 99, "is not a video")])
def test_a_bad_pipe_is_called_standard_input(cli, tmp_path, tiny_model, monkeypatch, piped, said):
    stream = SimpleNamespace(buffer=io.BytesIO(piped), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stream)
    chosen = ["--model", tiny_model, "--device", "cpu", "--threads", 1]
    code, _, err = cli("decompose", "-", *chosen)
    assert code == 65
    assert f"tandard input {said}" in err
    assert "slotcli-out" not in err
    assert not (tmp_path / "slotcli-out").exists()


def test_readme_has_the_tables_that_the_program_gives():
    text = readme_tables.README.read_text()
    assert readme_tables.generated(text) == text, (
        "README.md differs from the help texts. Write it again with: python tests/readme_tables.py"
    )


@pytest.mark.parametrize("words", [(), ("data",), ("models",), ("bench",)])
def test_a_command_that_is_not_named_is_answered_with_the_help(cli, words):
    code, out, err = cli(*words)
    assert code == 2
    assert out.startswith("Usage: slotcli")
    assert "Commands:" in out.splitlines()
    assert err == ""


@pytest.mark.parametrize("verb", ["reconstruct", "export"])
def test_a_video_in_place_of_a_result_is_told_apart(cli, verb):
    clip = Path(__file__).parents[2] / "samples" / "tier-a.mp4"
    code, _, err = cli(verb, clip, "-o", "made")
    assert code == 65
    assert "is not a slot file" in err
    assert "slotcli decompose makes them" in err
