"""A file over HTTP: whole, resumed, or refused in words; never half a file under its name."""

import hashlib
import json
from collections import namedtuple
from collections.abc import Iterator
from http.client import HTTPMessage
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
from loopback import Site, serving

from slotcli import faults
from slotcli.errors import DataError, OutputError, SlotcliError, UnavailableError
from slotcli.files import download as downloads
from slotcli.files.download import Arrived, download
from slotcli.files.http import Redirects

CONTENT = bytes(range(256)) * 4096  # 1 MiB, four reads
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with serving() as site:
        site.files["/model.ckpt"] = CONTENT
        yield site


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "model.ckpt"


NOTICES: list[str] = []


def fetch(site: Site, path: Path, name: str = "/model.ckpt", **known: object) -> Arrived:
    NOTICES.clear()
    progress: list[tuple[int, int | None]] = []
    arrived = download(
        f"{site.address}{name}",
        path,
        progress=lambda done, total: progress.append((done, total)),
        notice=NOTICES.append,
        **known,  # type: ignore[arg-type]
    )
    assert not progress or progress[-1][0] == arrived.size
    assert [done for done, _ in progress] == sorted(done for done, _ in progress)
    assert path.stat().st_size == arrived.size
    assert sorted(path.parent.iterdir()) == [path]
    return arrived


def refused(site: Site, path: Path, name: str = "/model.ckpt", **known: object) -> SlotcliError:
    with pytest.raises(SlotcliError) as raised:
        fetch(site, path, name, **known)
    assert not path.exists()
    assert "\n" not in raised.value.what + raised.value.advice
    return raised.value


def interrupted(site: Site, path: Path, after: int = HALF) -> None:
    """Leaves a part of `after` bytes."""
    site.breaks_after = after
    error = refused(site, path)
    site.breaks_after = None
    assert isinstance(error, UnavailableError)
    assert f"{after / 2**20:.1f} MiB of 1.0 MiB" in error.what
    assert "resumes" in error.advice
    assert (path.parent / "model.ckpt.part").stat().st_size == after


@pytest.mark.parametrize("sized", [True, False])
def test_a_whole_file_arrives_with_its_hash(site: Site, path: Path, sized: bool) -> None:
    site.sized = sized
    arrived = fetch(site, path, size=len(CONTENT), sha256=SHA256)
    assert arrived == Arrived(len(CONTENT), SHA256, len(CONTENT), None)
    assert path.read_bytes() == CONTENT
    assert "range" not in site.headers()
    assert site.headers()["user-agent"].startswith("slotcli/")


def test_what_arrived_is_not_sent_again(site: Site, path: Path) -> None:
    interrupted(site, path)
    arrived = fetch(site, path)
    assert (arrived.received, arrived.sha256) == (HALF, SHA256)
    assert site.sent == [HALF, len(CONTENT) - HALF]
    assert site.headers()["range"] == f"bytes={HALF}-"
    assert site.headers()["if-range"] == '"1"'
    assert NOTICES == []


def test_a_part_that_is_whole_is_only_checked(site: Site, path: Path) -> None:
    interrupted(site, path)
    (path.parent / "model.ckpt.part").write_bytes(CONTENT)
    assert fetch(site, path, sha256=SHA256).received == 0
    assert len(site.asked) == 1


def test_a_server_without_ranges_starts_over_and_that_is_said(site: Site, path: Path) -> None:
    interrupted(site, path)
    site.ranges = False
    assert fetch(site, path).received == len(CONTENT)
    assert NOTICES == ["The server does not resume: starting over."]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT) + 5, HALF - 1])
def test_a_file_that_changed_meanwhile_is_not_mixed(site: Site, path: Path, size: int) -> None:
    interrupted(site, path)
    changed = bytes(reversed(range(256))) * 4097
    site.files["/model.ckpt"], site.etag = changed[:size], '"2"'
    assert fetch(site, path).received == size
    assert NOTICES == ["The published file has changed: starting over."]
    assert path.read_bytes() == changed[:size]


def test_without_a_mark_only_a_known_hash_lets_it_resume(site: Site, path: Path) -> None:
    site.etag = None
    interrupted(site, path)
    assert fetch(site, path).received == len(CONTENT)
    assert NOTICES == ["The server gave no mark to resume by: starting over."]
    path.unlink()
    interrupted(site, path)
    assert fetch(site, path, sha256=SHA256).received == HALF
    assert NOTICES == []


def test_a_part_from_another_address_is_not_continued(site: Site, path: Path) -> None:
    interrupted(site, path)
    site.files["/moved.ckpt"] = bytes(len(CONTENT))
    assert fetch(site, path, "/moved.ckpt").received == len(CONTENT)
    assert NOTICES == ["What arrived earlier came from elsewhere: starting over."]
    assert path.read_bytes() == bytes(len(CONTENT))


def test_redirects_are_followed_and_the_hash_that_one_states_is_checked(
    site: Site, path: Path
) -> None:
    site.redirects["/resolve/model.ckpt"] = f"{site.address}/model.ckpt"
    site.linked_etag = f'"{SHA256}"'
    assert fetch(site, path, "/resolve/model.ckpt").stated_sha256 == SHA256
    path.unlink()
    site.linked_etag = f'"{"0" * 64}"'
    error = refused(site, path, "/resolve/model.ckpt")
    assert error.exit_code == 65
    assert SHA256 in error.what
    assert list(path.parent.iterdir()) == []


def test_a_resumed_part_follows_the_redirect_too(site: Site, path: Path) -> None:
    site.redirects["/resolve"] = "/model.ckpt"
    site.breaks_after = HALF
    refused(site, path, "/resolve")
    site.breaks_after = None
    assert fetch(site, path, "/resolve").received == HALF
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("known", "sent"),
    [({"sha256": "0" * 64}, len(CONTENT)), ({"size": 5}, None)],
    ids=["hash", "size"],
)
def test_another_file_than_the_known_one_is_removed(
    site: Site, path: Path, known: dict[str, object], sent: int | None
) -> None:
    error = refused(site, path, **known)
    assert isinstance(error, DataError)
    assert "known" in error.what
    assert list(path.parent.iterdir()) == []
    site.sized = False  # the size is then known at the end alone
    assert isinstance(refused(site, path, **known), DataError)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_web_page_is_no_file(site: Site, path: Path, content_type: str) -> None:
    page = "<!DOCTYPE html><html><head><title>Drive - \nQuota exceeded</title></head>"
    site.files["/model.ckpt"], site.content_type = page.encode(), content_type
    error = refused(site, path)
    assert error.exit_code == 65
    assert "a web page (Drive - Quota exceeded), no file" in error.what
    assert "--from FILE" in error.advice
    assert list(path.parent.iterdir()) == []


def test_a_page_instead_of_the_rest_leaves_the_part(site: Site, path: Path) -> None:
    interrupted(site, path)
    site.files["/model.ckpt"], site.content_type = b"<html>log in</html>", "text/html"
    site.etag = '"page"'
    assert isinstance(refused(site, path), DataError)
    site.files["/model.ckpt"], site.content_type = CONTENT, "application/octet-stream"
    site.etag = '"1"'
    assert fetch(site, path).received == HALF


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "no such file (404 Not Found)"), (403, "refuses it"), (503, "answers 503")],
)
def test_a_refusal_is_unavailable(site: Site, path: Path, status: int, said: str) -> None:
    site.status = status
    error = refused(site, path, "/absent" if status == 404 else "/model.ckpt")
    assert error.exit_code == 69
    assert said in error.what


def test_no_network_is_unavailable(site: Site, path: Path) -> None:
    elsewhere = Site(address="http://no-such-host.invalid")
    error = refused(elsewhere, path)
    assert error.exit_code == 69
    assert "no-such-host.invalid: cannot be reached" in error.what
    assert "There is no network, or no such host" in error.what
    assert "SLOTCLI_MIRROR" in error.advice
    closed = Site(address=site.address.rpartition(":")[0] + ":9")
    assert "refused" in refused(closed, path).what
    assert isinstance(refused(Site(address="http://[bad"), path), UnavailableError)


def test_the_proxy_of_the_environment_is_asked(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Site(address="http://weights.invalid")
    monkeypatch.setenv("http_proxy", site.address)
    assert fetch(published, path).sha256 == SHA256
    assert site.asked[-1][0] == "http://weights.invalid/model.ckpt"
    path.unlink()
    monkeypatch.setenv("http_proxy", "http://name:secret@127.0.0.1:9")
    error = refused(published, path)
    assert "through the proxy 127.0.0.1:9" in error.what
    assert "secret" not in error.what + error.advice


def test_a_redirect_to_an_open_connection_is_refused() -> None:
    request, marks = Request("https://weights.invalid/model.ckpt"), HTTPMessage()
    with pytest.raises(URLError, match="not encrypted"):
        Redirects().redirect_request(request, None, 302, "", marks, "http://a.invalid/")
    assert Redirects().redirect_request(request, None, 302, "", marks, "https://a.invalid/")


def test_a_disk_without_room_is_said_before_anything_is_written(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: usage(2**20, 2**20, 2**19))
    error = refused(site, path)
    assert isinstance(error, OutputError)
    assert "1.0 MiB more are needed, 0.5 MiB are free" in error.what
    assert list(path.parent.iterdir()) == []


def test_a_disk_that_fills_up_keeps_what_arrived(
    site: Site, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults._passes.clear()
    monkeypatch.setenv("SLOTCLI_FAULT", "enospc@download:3")
    error = refused(site, path)
    monkeypatch.delenv("SLOTCLI_FAULT")
    assert error.exit_code == 74
    assert "0.5 MiB more are needed" in error.what
    assert "is kept" in error.advice
    assert fetch(site, path).received == HALF
    assert site.sent[-1] == HALF


def test_the_part_says_where_it_is_from(site: Site, path: Path) -> None:
    interrupted(site, path)
    noted = json.loads((path.parent / "model.ckpt.part.json").read_text())
    assert noted == {
        "address": f"{site.address}/model.ckpt",
        "validator": '"1"',
        "size": len(CONTENT),
        "sha256": None,
    }
