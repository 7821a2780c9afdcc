"""slotcli models fetch: from a published address to a model that its name stands for."""

import hashlib
import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from loopback import Site, serving
from PIL import Image
from torch import Tensor

from slotcli import faults
from slotcli.build import build_model
from slotcli.checkpoint import DEFINITION, WEIGHTS, load_model, read_tensors
from slotcli.definition import definition_text, load_definition
from slotcli.errors import UnavailableError
from slotcli.files import model_folders
from slotcli.files.model_folders import fetched_models, find_definition, sources
from slotcli.files.places import locked
from slotcli.published import published_names
from slotcli.published.vit_weights import load_backbone_into
from slotcli.spec import SlotModelSpec, VitSpec

pytestmark = pytest.mark.slow

Cli = Callable[..., tuple[int, str, str]]

HOST = "/weights.invalid"
TABLE = """
[small]
address = "https://weights.invalid/small.ckpt"
page = "https://weights.invalid"
licence = "MIT"
mib = 1

[packed]
address = "https://weights.invalid/uc?id=7"
page = "https://weights.invalid"
licence = "MIT"
file = "both.zip"
member = "packed.pth"

[beside]
address = "https://weights.invalid/uc?id=7"
page = "https://weights.invalid"
licence = "MIT"
file = "both.zip"
member = "beside.pth"

[tiny-vit]
address = "https://weights.invalid/tiny_vit.pth"
page = "https://weights.invalid"
licence = "Apache-2.0"
sha256 = "{digest}"
vit = {{ kind = "vit", patch = 7, width = 16, heads = 2, blocks = 2, grid = 4, layer_scale = true }}
"""


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def authors(spec: SlotModelSpec, seed: int = 1) -> dict[str, Tensor]:
    """A state dict under the authors' names."""
    torch.manual_seed(seed)
    own = build_model(spec).state_dict()
    return {name: torch.randn_like(own[key]) for key, name in published_names(spec).items()}


@pytest.fixture
def spec(feature_specs: dict[str, SlotModelSpec]) -> SlotModelSpec:
    spec = feature_specs["patch_mlp"]
    train = spec.train.model_copy(update={"backbone": "tiny-vit"})
    return spec.model_copy(update={"name": "small", "train": train})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLOTCLI_MODELS", str(tmp_path / "home"))
    monkeypatch.delenv("SLOTCLI_MIRROR", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    return tmp_path / "home"


@pytest.fixture
def site(
    tmp_path: Path, home: Path, spec: SlotModelSpec, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """An installation of small models, and a mirror that has what their authors published."""
    backbone = saved(build_model(spec).encoder.backbone.state_dict())
    root = tmp_path / "installed"
    for name in ("small", "packed", "beside"):
        (root / name).mkdir(parents=True)
        own = definition_text(spec.model_copy(update={"name": name}))
        (root / name / DEFINITION).write_text(own)
    digest = hashlib.sha256(backbone).hexdigest()
    (root / "sources.toml").write_text(TABLE.format(digest=digest))
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    monkeypatch.setattr(model_folders, "model_folders", lambda: folders)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for seed, name in enumerate(("packed", "beside")):
            packed.writestr(f"pretrained/{name}.pth", saved(authors(spec, seed)))
    with serving() as site:
        lightning = {"state_dict": authors(spec), "epoch": 649, "optimizer_states": [{}]}
        site.files = {
            f"{HOST}/small.ckpt": saved(lightning),
            f"{HOST}/tiny_vit.pth": backbone,
            f"{HOST}/uc?id=7": archive.getvalue(),
        }
        monkeypatch.setenv("SLOTCLI_MIRROR", f"{site.address}/")
        yield site


def refused(cli: Cli, *arguments: object) -> tuple[int, str, str]:
    """Exit code, cause and remedy of a failed command."""
    code, printed, said = cli(*arguments)
    lines = said.strip().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    assert (printed, len(lines) - start) == ("", 2), said
    return code, lines[start], lines[start + 1]


def test_a_fetched_model_has_its_weights_by_name(
    site: Site, home: Path, spec: SlotModelSpec, cli: Cli
) -> None:
    with pytest.raises(UnavailableError, match="no weights") as missing:
        load_model("small")
    assert "slotcli models fetch small" in missing.value.advice

    code, printed, said = cli("models", "fetch", "small")
    assert code == 0, said
    assert printed.splitlines() == [
        f"{home}/small/{WEIGHTS}: {len(published_names(spec))} tensors of small.ckpt, as small."
    ]
    assert "Licence: MIT (https://weights.invalid)" in said
    assert "Checked by structure only" in said
    content = site.files[f"{HOST}/small.ckpt"]
    digest = hashlib.sha256(content).hexdigest()
    assert digest in said
    loaded = load_model("small")
    assert loaded.spec == spec
    assert sorted(path.name for path in home.iterdir()) == ["small"]
    record = json.loads((home / "small" / "source.json").read_text())
    assert record == {
        "name": "small",
        "address": f"{site.address}/weights.invalid/small.ckpt",
        "published_at": "https://weights.invalid/small.ckpt",
        "page": "https://weights.invalid",
        "licence": "MIT",
        "file": "small.ckpt",
        "size": len(content),
        "sha256": digest,
        "known_sha256": None,
        "sha256_of_server": None,
        "tensors": len(published_names(spec)),
        "checked": "structure only",
    }
    _, metadata = read_tensors(home / "small" / WEIGHTS)
    assert metadata["provenance"] == {
        "source": "small.ckpt",
        "sha256": digest,
        "address": "https://weights.invalid/small.ckpt",
    }

    code, printed, _ = cli("models", "fetch", "small")
    assert (code, printed) == (0, f"{home}/small: is here already.\n")
    assert len(site.asked) == 1
    code, printed, _ = cli("--json", "models", "show", "small")
    assert json.loads(printed)["weights"] == f"{home}/small/{WEIGHTS}"
    code, printed, _ = cli("--json", "info", "small")
    assert (code, json.loads(printed)["step"]) == (0, 0)


def test_a_fetched_model_decomposes_a_clip(
    site: Site, home: Path, cli: Cli, tmp_path: Path
) -> None:
    assert cli("models", "fetch", "small")[0] == 0
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "frame.png")
    code, _, said = cli(
        *("decompose", "frame.png", "--model", "small", "--no-overlay"),
        *("--out", "made", "--device", "cpu", "--threads", "1"),
    )
    assert code == 0, said
    assert "Model small" in said


def test_a_definition_finds_the_fetched_backbone(
    site: Site, home: Path, spec: SlotModelSpec, cli: Cli
) -> None:
    model = build_model(spec)
    with pytest.raises(UnavailableError, match="has not been fetched") as missing:
        load_backbone_into(model, spec)
    assert "slotcli models fetch tiny-vit" in missing.value.advice

    code, printed, said = cli("models", "fetch", "tiny-vit")
    assert code == 0, said
    assert "its sha256 is the known one" in said
    tensors = len(build_model(spec).encoder.backbone.state_dict())
    assert printed == f"{home}/tiny-vit/backbone.pth: {tensors} tensors.\n"
    assert json.loads((home / "tiny-vit" / "source.json").read_text())["checked"] == "known sha256"
    digest = hashlib.sha256(site.files[f"{HOST}/tiny_vit.pth"]).hexdigest()
    assert load_backbone_into(model, spec) == digest
    code, cause, _ = refused(cli, "models", "show", "tiny-vit")
    assert (code, "is a backbone" in cause) == (66, True)

    site.files[f"{HOST}/tiny_vit.pth"] = saved({"cls_token": torch.zeros(1, 1, 16)})
    code, cause, _ = refused(cli, "models", "fetch", "tiny-vit", "--overwrite")
    assert (code, "not the known" in cause) == (65, True)
    assert (home / "tiny-vit" / "backbone.pth").is_file()


def test_the_same_command_resumes(site: Site, home: Path, cli: Cli) -> None:
    size = len(site.files[f"{HOST}/small.ckpt"])
    site.breaks_after = size // 2
    code, _, remedy = refused(cli, "models", "fetch", "small")
    assert (code, "the same command resumes" in remedy) == (69, True)
    assert not (home / "small").exists()
    site.breaks_after = None
    code, printed, said = cli("--json", "models", "fetch", "small")
    assert code == 0, said
    assert json.loads(printed)["received"] == size - size // 2
    assert sum(site.sent) == size


def test_another_model_s_file_is_kept_out_and_kept(
    site: Site, home: Path, spec: SlotModelSpec, cli: Cli
) -> None:
    whole = site.files[f"{HOST}/small.ckpt"]
    wrong = authors(spec)
    del wrong["initializer.slots"]
    site.files[f"{HOST}/small.ckpt"] = saved(wrong)
    for _ in range(2):
        code, cause, remedy = refused(cli, "models", "fetch", "small")
        assert (code, "1 missing" in cause) == (65, True)
        assert "--overwrite fetches it again" in remedy
        assert len(site.asked) == 1
    assert not (home / "small").exists()
    site.files[f"{HOST}/small.ckpt"] = whole
    assert cli("models", "fetch", "small", "--overwrite")[0] == 0


@pytest.mark.parametrize("case", ["page", "absent", "offline", "mirror", "full"])
def test_a_failed_fetch_has_two_lines_and_leaves_no_model(
    case: str, site: Site, home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "page":
        site.files[f"{HOST}/small.ckpt"] = b"<html><title>Log in</title></html>"
    elif case == "absent":
        del site.files[f"{HOST}/small.ckpt"]
    elif case == "offline":
        monkeypatch.delenv("SLOTCLI_MIRROR")
    elif case == "mirror":
        monkeypatch.setenv("SLOTCLI_MIRROR", "ftp://mirror")
    else:
        monkeypatch.setenv("SLOTCLI_FAULT", "enospc@download:1")
        monkeypatch.setattr(faults, "_passes", Counter())
    code, cause, remedy = refused(cli, "models", "fetch", "small")
    expected = {
        "page": (65, "a web page (Log in)", "--from FILE"),
        "absent": (69, "no such file (404", "--from FILE"),
        "offline": (69, "weights.invalid: cannot be reached", "SLOTCLI_MIRROR"),
        "mirror": (2, "ftp://mirror", "SLOTCLI_MIRROR"),
        "full": (74, "The disk is full", "SLOTCLI_MODELS"),
    }
    wanted, in_cause, in_remedy = expected[case]
    assert (code, in_cause in cause, in_remedy in remedy) == (wanted, True, True), (cause, remedy)
    assert not (home / "small").exists()


def test_one_archive_is_downloaded_for_all_that_are_in_it(
    site: Site, home: Path, spec: SlotModelSpec, cli: Cli
) -> None:
    code, _, said = cli("models", "fetch", "packed")
    assert code == 0, said
    assert "it has beside too" in said
    assert [path.name for path in (home / "downloads").iterdir()] == ["both.zip"]
    code, _, said = cli("models", "fetch", "beside")
    assert code == 0, said
    assert "is here already, and is not downloaded again" in said
    assert len(site.asked) == 1
    assert not (home / "downloads").exists()
    first, second = (read_tensors(home / name / WEIGHTS)[0] for name in ("packed", "beside"))
    assert not torch.equal(first["encoder.initial_slots"], second["encoder.initial_slots"])


@pytest.mark.parametrize("case", ["renamed", "damaged"])
def test_an_archive_without_the_weights(case: str, site: Site, home: Path, cli: Cli) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        name = "packed.pth" if case == "damaged" else "other.pth"
        packed.writestr(name, bytes(2000) + b"end")
    content = bytearray(archive.getvalue())
    if case == "damaged":
        content[50] ^= 255
    site.files[f"{HOST}/uc?id=7"] = bytes(content)
    code, cause, _ = refused(cli, "models", "fetch", "packed")
    assert code == 65
    assert ("has no packed.pth" if case == "renamed" else "damaged archive") in cause
    assert [path.name for path in home.rglob("*.pth*")] == []


def test_a_file_brought_by_other_means(site: Site, home: Path, tmp_path: Path, cli: Cli) -> None:
    own = tmp_path / "ytvis.ckpt"
    own.write_bytes(site.files[f"{HOST}/small.ckpt"])
    code, printed, said = cli("--json", "models", "fetch", "small", "--from", own)
    assert code == 0, said
    facts = json.loads(printed)
    assert (facts["address"], facts["checked"], facts["received"]) == (None, "structure only", 0)
    assert own.is_file()
    code, cause, _ = refused(cli, "models", "fetch", "tiny-vit", "--from", own)
    assert (code, "do not fit" in cause or "missing" in cause) == (65, True)
    code, cause, _ = refused(cli, "models", "fetch", "tiny-vit", "--from", tmp_path / "absent")
    assert code == 66
    member = tmp_path / "packed.pth"
    member.write_bytes(site.files[f"{HOST}/small.ckpt"])
    assert cli("models", "fetch", "packed", "--from", member)[0] == 0
    assert site.asked == []


def test_two_fetches_of_one_file_do_not_meet(site: Site, home: Path, cli: Cli) -> None:
    place = home / "downloads" / "small.ckpt"
    place.parent.mkdir(parents=True)
    with locked(place):
        assert refused(cli, "models", "fetch", "small")[0] == 75


def test_without_a_home_a_folder_has_to_be_named(
    site: Site, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SLOTCLI_MODELS")
    assert fetched_models() == tmp_path / "cache" / "slotcli" / "models"
    monkeypatch.setenv("SLOTCLI_MODELS", "~no-such-user/models")
    code, cause, remedy = refused(cli, "models", "fetch", "small")
    assert (code, "no such home folder" in cause) == (73, True)
    assert "SLOTCLI_MODELS" in remedy
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("~")]


def test_the_hub_s_own_mirror_is_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, other = sources()["slotcontrast-ytvis"], sources()["dinov2-vits14"]
    assert hub.asked_address() == hub.address
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid")
    path = "annamanasyan/slotcontrast/resolve/main/ytvis.ckpt"
    assert hub.asked_address() == f"https://mirror.invalid/{path}"
    assert other.asked_address() == other.address
    monkeypatch.setenv("SLOTCLI_MIRROR", "http://files.invalid/weights/")
    assert hub.asked_address() == f"http://files.invalid/weights/huggingface.co/{path}"


def test_what_is_not_published_cannot_be_fetched(home: Path, cli: Cli) -> None:
    code, cause, _ = refused(cli, "models", "fetch", "tiny-64")
    assert (code, "come with slotcli" in cause) == (69, True)
    code, cause, _ = refused(cli, "models", "fetch", "steve-movi-e")
    assert (code, "publish no weights" in cause) == (69, True)
    for wrong, right in (("slotcontrast-yvtis", "slotcontrast-ytvis"), ("dino-vtb8", "dino-vitb8")):
        code, cause, remedy = refused(cli, "models", "fetch", wrong)
        assert (code, f"Did you mean {right}?" in remedy) == (66, True)


def test_the_list_says_how_to_get_each(home: Path, cli: Cli) -> None:
    (home / "slotcurri-ytvis").mkdir(parents=True)
    for name in (WEIGHTS, "source.json"):
        (home / "slotcurri-ytvis" / name).touch()
    code, printed, _ = cli("--json", "models", "list")
    assert code == 0
    rows = {row["name"]: row for row in map(json.loads, printed.splitlines())}
    fetch = {name: row["fetch"] for name, row in rows.items() if row["fetch"] is not None}
    assert fetch == {name: f"slotcli models fetch {name}" for name in sources()}
    assert rows["slotcontrast-ytvis"]["licence"] == "MIT"
    assert [row["name"] for row in rows.values() if row["fetched"]] == ["slotcurri-ytvis"]
    assert rows["tiny-64"]["weights"]
    assert not rows["slotcontrast-ytvis"]["weights"]
    code, printed, _ = cli("models", "list")
    lines = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert lines["slotcontrast-ytvis"] == ["slot_model", "91,022,017", "fetch", "381", "MIT"]
    assert lines["slotcurri-ytvis"][2] == "fetched"
    assert lines["steve-movi-e"][2:] == ["train"]
    assert lines["dinov2-vits14"] == ["backbone", "fetch", "84", "Apache-2.0"]
    assert max(map(len, printed.splitlines())) <= 80


def test_the_table_fits_the_definitions() -> None:
    known = sources()
    assert len(known) == 29
    backbones = {
        name: VitSpec.model_validate(own.vit) for name, own in known.items() if own.vit is not None
    }
    for name, own in known.items():
        assert own.address.startswith("https://")
        assert own.licence in (("DINOv3",) if name.startswith("dinov3") else ("MIT", "Apache-2.0"))
        assert own.sha256 is None or (len(own.sha256) == 64 and own.size is not None)
        assert own.size is None or own.mib == round(own.size / 2**20)
        if name in backbones:
            continue
        spec = load_definition(find_definition(name))
        if isinstance(spec, SlotModelSpec) and isinstance(spec.encoder.backbone, VitSpec):
            assert spec.train.backbone is not None
            assert spec.encoder.backbone == backbones[spec.train.backbone]
    files = [own.file for own in known.values() if own.member is None]
    assert len(set(files)) == len(files)
