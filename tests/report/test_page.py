import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from slotcli.report.page import Report, clock, write_report
from slotcli.tracks.statistics import SlotSummary

BACKGROUND = SlotSummary(0, True, 10, 1.0, 0.0, 9.0, 5000.0, 0.5, 1.25, (10, 20, 30))
BALL = SlotSummary(1, False, 5, 0.5, 2.0, 3725.5, 250.0, 0.025, 321.0, (200, 20, 30))
UNUSED = SlotSummary(2, False, 0, 0.0, None, None, 0.0, 0.0, 0.0, None)
HOSTILE = "<script>alert(1)</script>\"' onload='x.mp4"


def report() -> Report:
    return Report(
        title="ball.mp4",
        trust="Nobody has audited this result.",
        warnings=[],
        source=[("Size", "320 x 240")],
        model=[("Name", "tiny")],
        run=[("Seed", "0")],
        slots=[BACKGROUND, BALL, UNUSED],
        overlay="overlay.mp4",
        strip="strip.png",
    )


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
    return tags


def test_what_the_page_shows(tmp_path):
    write_report(tmp_path / "report.html", report())
    tags = parse(tmp_path / "report.html")
    text = re.sub(r"\s+", " ", tags.text)
    assert "Nobody has audited this result." in text
    assert "2.5 % 250 0:02.000 1:02:05.500 50 % 321 #c8141e" in text
    assert "never won a pixel" in text
    assert "Warnings" not in text
    links = [value for _, attrs in tags.seen for key, value in attrs.items() if key == "src"]
    assert links == ["overlay.mp4", "strip.png"]
    assert not [tag for tag, _ in tags.seen if tag in ("script", "link", "iframe")]
    assert "http" not in (tmp_path / "report.html").read_text()


def test_names_are_escaped_everywhere(tmp_path):
    facts = [(HOSTILE, HOSTILE)]
    hostile = Report(
        HOSTILE, HOSTILE, [HOSTILE], facts, facts, facts, [BALL], overlay=HOSTILE, strip=HOSTILE
    )
    write_report(tmp_path / "report.html", hostile)
    tags = parse(tmp_path / "report.html")
    assert "script" not in [tag for tag, _ in tags.seen]
    assert not [attrs for _, attrs in tags.seen if "onload" in attrs]
    assert tags.text.count(HOSTILE) == 10  # two titles, trust, warning, six facts


def test_a_name_that_is_not_unicode(tmp_path):
    write_report(tmp_path / "report.html", replace(report(), title="bad \udcff.mp4"))
    assert r"bad \udcff.mp4" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_result_without_pictures(tmp_path):
    write_report(tmp_path / "report.html", replace(report(), overlay=None, strip=None))
    assert not {"img", "video"} & {tag for tag, _ in parse(tmp_path / "report.html").seen}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.000"), (59.9996, "1:00.000"), (3725.5, "1:02:05.500"), (-0.25, "-0:00.250")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
