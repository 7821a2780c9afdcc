"""Every verb that takes its time, on a terminal: it says what it is at, and leaves a clean screen.

Each runs once, as a program, on what the ones before it made.
"""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from pseudo_terminal import run_on_terminal, shown, without_codes
from warm_process import warm_python

from slotcli.definition import definition_text

pytestmark = pytest.mark.slow

CPU = ["--device", "cpu", "--threads", "1"]
MADE = "made/A-0.mp4"


@dataclass(frozen=True)
class Verb:
    arguments: list[str]
    phases: list[str]
    last: str  # a pattern for the last line on the screen
    files: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0,)


SYNTH = ["data", "synth", "clips", "--tier", "A", "--size", "32", "--frames", "6", "--clips", "4"]
EVALUATE = ["evaluate", "--lpips", "off", "--render", "1", "--render-frames", "1"]
VERBS = {
    "data synth": Verb(
        [*SYNTH, *CPU],
        ["starting", "rendering clips of tier A 4/4"],
        r"Train with --data clips/videos, evaluate with --data clips\.",
        ("clips/videos/A-0.mp4", "clips/index.json"),
    ),
    "data index": Verb(
        ["data", "index", "clips/videos"],
        ["opening the data set", "counting frames of train 4/4"],
        r"Noted in clips/videos/.*",
    ),
    "data check": Verb(
        ["data", "check", "clips/videos"],
        ["decoding train 4/4"],
        r"clips/videos: all 4 clips are sound\.",
    ),
    "data convert": Verb(
        ["data", "convert", "clips/videos", "frames"],
        ["converting train 4/4"],
        r"frames/train: 4 clips written.*",
        ("frames/train",),
    ),
    "decompose": Verb(
        ["decompose", "clips/videos/A-0.mp4", "--model", "MODEL", "--out", "made", *CPU],
        ["looking for clips", "loading the model", "decoding A-0.mp4 6/6", "drawing the report"],
        rf"Open {MADE}/report\.html",
        (f"{MADE}/report.html", f"{MADE}/clip.slots.safetensors"),
    ),
    "decompose many": Verb(
        ["decompose", "clips/videos", "--model", "MODEL", "--out", "many", *CPU],
        ["decoding clips 4/4"],
        r"Open many/index\.html",
        ("many/index.html", "many/summary.json"),
    ),
    "reconstruct": Verb(
        ["reconstruct", MADE, "--model", "MODEL", "--evaluations", "1", *CPU],
        ["loading the model", "rendering frames 6/6"],
        rf"Open {MADE}/reconstruction\.mp4",
        (f"{MADE}/reconstruction.mp4",),
    ),
    "export": Verb(
        ["export", MADE, "--out", "exported"],
        ["reading the slots", "writing masks 6/6"],
        r"Open exported/masks",
        ("exported/masks",),
    ),
    "report": Verb(["report", MADE], ["drawing the report 6/6"], rf"{MADE}/report\.html"),
    "evaluate": Verb(
        [*EVALUATE, "--model", "MODEL", "--data", "clips", "--out", "scores", *CPU],
        ["loading the model", "scoring clips 4/4", "auditing the masks"],
        r"Written: scores/evaluation\.json and scores/clips\.csv",
        ("scores/evaluation.json", "scores/clips.csv"),
    ),
    "audit": Verb(
        ["audit", "--model", "MODEL", "--data", "clips", "--clips", "4", *CPU],
        ["loading the model", "reading clips 4/4", "auditing the masks"],
        r".*",
        codes=(0, 3),
    ),
    "audit of results": Verb(
        ["audit", "--results", "many"], ["reading results 4/4"], r".*", (), (0, 3)
    ),
    "pretrain": Verb(
        ["pretrain", "--config", "codec.toml", "--data", "clips/videos", "--out", "codec", *CPU],
        ["building the model", "reading held-out clips", "training 4/4", "evaluating"],
        r"Open codec/curves\.svg",
        ("codec/weights.safetensors", "codec/curves.svg"),
    ),
    "train": Verb(
        [
            *("train", "--config", "slots.toml", "--out", "run", *CPU),
            *("--set", "train.codec=CODEC", "--set", "train.evaluate_every=4"),
        ],
        ["rendering held-out clips 64/64", "training 4/4"],
        r"Open run/curves\.svg",
        ("run/weights.safetensors", "run/curves.svg"),
    ),
    "adapt": Verb(
        ["adapt", "clips/videos", "--model", "MODEL", "--out", "adapted", "--steps", "2", *CPU],
        ["opening the clips", "evaluating", "training"],
        r".*",
        codes=(0, 3),
    ),
    "bench kernels": Verb(
        ["bench", "kernels", "nearest_code", "--quick", "--out", "kernels.json", *CPU],
        ["timing copies and products", "timing operations"],
        r"Written: kernels\.json",
        ("kernels.json",),
    ),
    "bench decompose": Verb(
        ["bench", "decompose", "MODEL", "--quick", "--frames", "2", "--out", "whole.json", *CPU],
        ["loading the model", "timing"],
        r"Written: whole\.json",
        ("whole.json",),
    ),
    "doctor": Verb(["doctor", *CPU], ["testing operations"], r".*"),
}
CHEAP = ["data check", "export"]
PLACES = [(20, {}), (80, {"TERM": "dumb"}), (80, {"FORCE_COLOR": "1"}), (80, {"NO_COLOR": "1"})]


@dataclass(frozen=True)
class Workplace:
    folder: Path
    model: str
    codec: str

    def arguments(self, verb: str) -> list[str]:
        names = {"MODEL": self.model, "CODEC": self.codec}
        return [
            names.get(text, text.replace("CODEC", self.codec)) for text in VERBS[verb].arguments
        ]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, tiny_model, tiny_codec, tiny_codec_spec, tiny_slot_spec):
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "codec.toml").write_text(definition_text(tiny_codec_spec))
    (folder / "slots.toml").write_text(definition_text(tiny_slot_spec))
    return Workplace(folder, str(tiny_model), str(tiny_codec))


def require_clean(code: int, sent: str, verb: Verb) -> list[str]:
    """What is on the screen at the end, which has to be what any command leaves."""
    text, screen = without_codes(sent), shown(sent)
    assert code in verb.codes, text[-2000:]
    assert "Traceback" not in text
    assert "a bug in slotcli" not in text
    if code == 0:
        assert not any(line.startswith("error:") for line in screen), screen
        assert re.fullmatch(verb.last, screen[-1]), screen
    assert not any(sign in line for line in screen for sign in "━╸⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"), screen
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h")
    return screen


@pytest.mark.parametrize("name", VERBS)
def test_each_verb_at_80_columns(workplace: Workplace, name: str) -> None:
    verb = VERBS[name]
    code, sent = run_on_terminal(workplace.folder, workplace.arguments(name))
    require_clean(code, sent, verb)
    said = re.sub(r"[━╸ ]+", " ", without_codes(sent))
    for phase in verb.phases:
        assert phase in said, said
    for path in verb.files:
        assert (workplace.folder / path).exists(), path


@pytest.mark.parametrize("name", CHEAP)
@pytest.mark.parametrize(("columns", "environment"), PLACES)
def test_cheap_verbs_on_every_kind_of_terminal(
    workplace: Workplace, name: str, columns: int, environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = [
        str(tmp_path / "exported") if text == "exported" else text
        for text in workplace.arguments(name)
    ]
    code, sent = run_on_terminal(workplace.folder, arguments, columns=columns, **environment)
    verb = Verb([], [], r".*", VERBS[name].files)
    require_clean(code, sent, verb)
    if "TERM" in environment:  # plain lines
        assert "\x1b" not in sent
        assert re.search(r"(decoding train: 4/4|writing masks: 6/6)", sent)
    else:
        assert re.search(r"(decod|writing)", without_codes(sent))
    if "NO_COLOR" in environment:
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", sent)


@pytest.mark.parametrize("name", CHEAP)
def test_forced_colours_leave_redirected_results_alone(
    workplace: Workplace, name: str, tmp_path: Path
) -> None:
    """As in CI, where FORCE_COLOR=1 is usual and nothing is a terminal."""
    outputs = []
    for flags in ([], ["--json"]):
        place = str(tmp_path / f"exported{len(flags)}")
        given = [place if text == "exported" else text for text in workplace.arguments(name)]
        done = subprocess.run(
            [*warm_python(), "-m", "slotcli", *given, *flags],
            cwd=workplace.folder,
            env={**os.environ, "FORCE_COLOR": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        assert "\x1b" not in done.stdout
        assert "\x1b[?25" not in done.stderr
        outputs.append(done.stdout)
    plain, records = outputs
    assert plain.strip()
    assert all(isinstance(json.loads(line), dict) for line in records.splitlines())
    assert records.strip()
