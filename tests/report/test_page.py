import base64
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import BALL, SIZE, report, scene

from slotcli.report.page import LinkedFile, write_report
from slotcli.report.slot_rows import format_time, percent, short_clock

HOSTILE = "</script><script>alert(1)</script>\"' onload='x.mp4"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parse(path) -> Tags:
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    tags.text = re.sub(r"\s+", " ", tags.text)
    return tags


def data_of(path) -> dict:
    found = re.search(
        r'<script type="application/json" id="clip-data">(.*?)</script>', path.read_text()
    )
    assert found
    return json.loads(found[1])


@pytest.fixture
def page(tmp_path):
    write_report(tmp_path / "report.html", report(tmp_path))
    return tmp_path / "report.html"


def test_what_the_page_says(page):
    tags = parse(page)
    for text in (
        "2 objects found in 30 frames",
        "Not passed: one slot takes all.",
        "1.28 used slots wanted >= 2",
        "In every frame. 6.7 % of the picture. Its centre travels 62 px. 75 % sure of its pixels.",
        "From 0:00.6 to 0:01.2, in 50 % of the frames. 2.6 % of the picture. Hardly moves.",
        "Slot 3 never won a pixel.",
        "frame 4: damaged in the source",
        "frame 20: slots began anew",
        "It has 4 slots.",
    ):
        assert text in tags.text
    assert "Warnings" not in tags.text


def test_the_page_needs_no_other_file_and_links_to_every_one(page):
    tags = parse(page)
    sources = [attrs["src"] for _, attrs in tags.seen if "src" in attrs]
    assert sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = [attrs["href"] for tag, attrs in tags.seen if tag == "a"]
    assert links == ["overlay.mp4", "masks", "overlay.mp4"]
    assert not [tag for tag, _ in tags.seen if tag in ("link", "iframe")]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page.read_text())
    assert [path.name for path in page.parent.iterdir()] == ["report.html"]


def test_labels_of_every_frame_are_lossless(page):
    data = data_of(page)
    packed = base64.b64decode(data["labels"])
    for index, (end, length) in enumerate(
        zip(np.cumsum(data["lengths"]), data["lengths"], strict=True)
    ):
        labels = zlib.decompress(packed[end - length : end], -zlib.MAX_WBITS)
        expected = scene(index)[1]
        np.testing.assert_array_equal(np.frombuffer(labels, np.uint8).reshape(SIZE), expected)


def test_names_are_escaped_everywhere(tmp_path):
    facts = [(HOSTILE, HOSTILE)]
    hostile = report(
        tmp_path,
        title=HOSTILE,
        verdict=HOSTILE,
        trust=[HOSTILE],
        warnings=[HOSTILE],
        limits=[HOSTILE],
        source=facts,
        model=facts,
        run=facts,
        files=[LinkedFile(HOSTILE, HOSTILE)],
        overlay=HOSTILE,
    )
    write_report(tmp_path / "report.html", hostile)
    tags = parse(tmp_path / "report.html")
    assert len([tag for tag, _ in tags.seen if tag == "script"]) == 2
    assert not [attrs for _, attrs in tags.seen if "onload" in attrs]
    # Two titles, verdict, trust, warning, limit, six facts, file and what it holds, overlay.
    assert tags.text.count(HOSTILE) == 15


def test_a_name_that_is_not_unicode(tmp_path):
    write_report(tmp_path / "report.html", report(tmp_path, title="bad \udcff.mp4"))
    assert r"bad \udcff.mp4" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_linked_page_is_small_and_has_the_same_data(tmp_path, page):
    single = data_of(page)
    folder = tmp_path / "linked"
    folder.mkdir()
    write_report(folder / "report.html", report(folder), "linked")
    assert sorted(path.name for path in folder.iterdir()) == [
        "report-clip.js",
        "report-clip.mp4",
        "report.html",
    ]
    text = (folder / "report-clip.js").read_text()
    linked = json.loads(text.removeprefix("window.slotcliClip = ").removesuffix(";\n"))
    assert linked["video"] == "report-clip.mp4"
    assert linked | {"video": ""} == single | {"video": ""}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.000"), (59.9996, "1:00.000"), (3725.5, "1:02:05.500"), (-0.25, "-0:00.250")],
)
def test_clock(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.97, "1:00.0"), (3725.5, "1:02:05"), (0, "0:00.0")]
)
def test_short_clock(seconds, text):
    assert short_clock(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (0.0004, "under 0.1 %"), (0.026, "2.6 %"), (0.5, "50 %")]
)
def test_percent(share, text):
    assert percent(share) == text


def test_objects_are_sorted_by_how_much_is_seen_of_them(tmp_path):
    big = replace(BALL, id=3, mean_area=1000.0)
    write_report(tmp_path / "report.html", report(tmp_path, slots=[BALL, big]))
    rows = [
        attrs["data-id"] for _, attrs in parse(tmp_path / "report.html").seen if "data-id" in attrs
    ]
    assert rows == ["3", "1"]
