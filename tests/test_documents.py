"""The documents beside the code: map, recipes, READMEs of rooms, and their decisions."""

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "slotcli"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
READMES = sorted(PACKAGE.rglob("README.md"))
DOCUMENTS = [ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md", *READMES]

_CONTRACT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = [
    [room.strip() for room in layer.split("|")] for layer in _CONTRACT["contracts"][0]["layers"]
]
ROOMS = [room for layer in LAYERS for room in layer if (PACKAGE / room).is_dir()]

_DECISION = re.compile(r"^- \*\*([A-Z]{1,2}\d{1,2})\. ", re.MULTILINE)
# One or more, as `# T1, T18`, before a colon or the end of the line.
_CITED_IN_CODE = re.compile(r"#\s+((?:[A-Z]{1,2}\d{1,2}(?:, )?)+)(?::|\s*$)", re.MULTILINE)
_CITED_IN_TEXT = re.compile(r"\b(?:see|as in) ([A-Z]{1,2}\d{1,2})\b")
_FILE_IN_TEXT = re.compile(r"^([\w./-]+\.(?:py|md))(?::(\w+))?$")
_PLACEHOLDER = re.compile(r"<(\w+)>")


def section(title: str) -> str:
    """The text below a heading of CONTRIBUTING.md."""
    return CONTRIBUTING.split(f"\n## {title}\n")[1].split("\n## ")[0]


def recipes() -> dict[str, str]:
    """The paragraphs of CONTRIBUTING.md's recipes, by their names in bold."""
    found = re.findall(r"^\*\*(.+?)\.\*\* (.+?)(?=\n\n|\Z)", section("Recipes"), re.M | re.S)
    return dict(found)


def paths_of(recipe: str) -> list[str]:
    """Words in backticks that name a file, with `:Name` where a name in it is meant."""
    words = " ".join(re.findall(r"`([^`]+)`", recipe)).split()
    return [word for word in words if re.search(r"\.(py|toml|md)(:\w+)?$", word)]


def defined(path: Path) -> set[str]:
    """Names that a module defines at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def decisions() -> Counter[str]:
    """How often each identifier of a decision is given."""
    return Counter(name for path in DOCUMENTS for name in _DECISION.findall(path.read_text()))


def test_the_map_has_the_rooms_of_the_import_contract_in_their_order() -> None:
    rows = re.findall(r"^- (.+?): ", section("The map"), re.M)
    assert [re.findall(r"[`\[](\w+)[`\]]", row) for row in rows] == LAYERS


def test_the_map_links_every_room_to_its_readme() -> None:
    links = dict(re.findall(r"\[(\w+)\]\((slotcli/\S+?)\)", section("The map")))
    assert links == {room: f"slotcli/{room}/README.md" for room in ROOMS}


def test_contributing_is_short() -> None:
    assert len(CONTRIBUTING.encode()) <= 8192


def test_every_recipe_is_there() -> None:
    wanted = {"A decoder", "A data set", "A kernel", "A command", "A published model"}
    assert set(recipes()) == wanted | {"An option of decompose"}


@pytest.mark.parametrize("name", recipes())
def test_every_file_of_a_recipe_exists(name: str) -> None:
    """A placeholder has a value, the same in the whole recipe, with which its files exist."""
    values: dict[str, set[str]] = {}
    for word in paths_of(recipes()[name]):
        path, _, wanted = word.partition(":")
        placeholder = _PLACEHOLDER.search(path)
        if placeholder is None:
            (file,) = [base / path for base in (PACKAGE, ROOT) if (base / path).is_file()]
            assert not wanted or wanted in defined(file), word
            continue
        pattern = re.compile(re.escape(path).replace(re.escape(placeholder[0]), r"([\w-]+)"))
        files = [
            file.relative_to(base).as_posix()
            for base in (PACKAGE, ROOT)
            for file in base.glob(path.replace(placeholder[0], "*"))
        ]
        fits = {hit[1] for hit in map(pattern.fullmatch, files) if hit}
        values[placeholder[1]] = values.get(placeholder[1], fits) & fits
        assert values[placeholder[1]], f"{word}: no file, or none of {placeholder[0]} before it"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_a_readme_that_says_what_it_may_import(room: str) -> None:
    text = (PACKAGE / room / "README.md").read_text()
    level = next(number for number, layer in enumerate(LAYERS) if room in layer)
    below = ", ".join(f"`{name}`" for name in LAYERS[level + 1])
    rooms = "them" if len(LAYERS[level + 1]) > 1 else "it"
    said = re.sub(r",? and every", " and every", re.sub(r"\s+", " ", text))
    assert f"May import: {below} and every room below {rooms}" in said
    for beside in set(LAYERS[level]) - {room}:
        assert f"; not `{beside}`." in said


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_a_readme_is_short(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines >= 15
    assert lines <= 50 or path.parent.name == "bench"  # its tables of measurements


@pytest.mark.parametrize("path", READMES, ids=lambda path: path.parent.name)
def test_the_files_and_names_that_a_readme_gives_exist(path: Path) -> None:
    words = " ".join(re.findall(r"`([^`\n]+)`", path.read_text())).split()
    for file, name in (match.groups() for match in map(_FILE_IN_TEXT.match, words) if match):
        near = [base / file for base in (path.parent, PACKAGE, ROOT)]
        hits = [hit for hit in near if hit.is_file()] or sorted(path.parent.rglob(file))
        assert hits, f"{file}: no such file"
        assert name is None or name in defined(hits[0]), f"{file} has no {name}"


def test_no_two_decisions_have_one_identifier() -> None:
    assert [name for name, count in decisions().items() if count > 1] == []


def test_the_decisions_of_a_document_share_their_letters() -> None:
    letters = [
        {name.rstrip("0123456789") for name in _DECISION.findall(path.read_text())}
        for path in DOCUMENTS
    ]
    assert all(len(own) <= 1 for own in letters)
    taken = Counter(name for own in letters for name in own)
    assert [name for name, count in taken.items() if count > 1] == []


def test_every_decision_that_is_cited_exists() -> None:
    known, letters = decisions(), {name.rstrip("0123456789") for name in decisions()}
    code = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for path in [*code, *DOCUMENTS]:
        text = path.read_text()
        cited = _CITED_IN_TEXT.findall(text)
        if path.suffix == ".py":
            cited += ", ".join(_CITED_IN_CODE.findall(text)).split(", ")
        for name in cited:
            if name.rstrip("0123456789") in letters:
                assert name in known, f"{path.relative_to(ROOT)} cites {name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.parent.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert (path.parent / target).exists(), target
