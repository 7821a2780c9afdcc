"""Pages in a real browser, by keyboard and pointer: they work, log nothing and ask for nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pages import SIZE, report
from PIL import Image

from slotcli.report.index_page import IndexRow, write_index
from slotcli.report.page import write_report
from slotcli.report.run_page import MaskSheet, RunReport, write_run_page

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>.mp4"
# The pixel of the masks in the middle of an object's bounding box, as (x, y) in label pixels.
PIXEL = """([x, y]) => {
  const canvas = document.getElementById("masks"), scale = canvas.width / WIDTH;
  return [...canvas.getContext("2d").getImageData(x * scale, y * scale, 1, 1).data].slice(0, 3);
}""".replace("WIDTH", str(SIZE[1]))
Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    (made / "linked").mkdir()
    write_report(made / "report.html", report(made, title=HOSTILE, warnings=[HOSTILE]))
    write_report(made / "linked" / "report.html", report(made / "linked"), "linked")
    for name in ("x", "y"):
        (made / name).mkdir()
        Image.new("RGB", (80, 40)).save(made / name / "strip.png")
    rows = [
        IndexRow("a/ten.mp4", "x", "ok", 10, "", 9.5, SIZE, 2000, 3, True),
        IndexRow("a/two.mp4", "y", "ok", 2, "", 99.0, SIZE, 1000, 5, False),
        IndexRow(HOSTILE, None, "failed", None, "moov atom not found"),
    ]
    write_index(made / "index.html", "Clips", {"ok": 2, "failed": 1}, rows)
    write_run_page(made / "run.html", run_report(made))
    return made


def run_report(folder: Path) -> RunReport:
    sheets = []
    for step, level in ((100, 0), (200, 120), (300, 240)):
        Image.new("RGB", (80, 40), (level, 0, 0)).save(folder / f"{step}.png")
        sheets.append(MaskSheet(step, f"{step}.png", (40, 80)))
    facts = [("Run", [("Seed", "0")])]
    return RunReport(
        HOSTILE, "300 steps.", [], [], sheets, "", [], ["Step"], [["300"]], facts, None
    )


@pytest.fixture
def opened(browser, folder) -> Iterator[Opener]:
    """Opens a page by its name in the folder; at the end, that it was silent is asserted."""
    contexts: list[Any] = []
    noise: list[str] = []

    @contextmanager
    def closing() -> Iterator[Opener]:
        def open_page(name: str, **options: Any) -> Any:
            options = {"viewport": {"width": 1280, "height": 900}} | options
            context = browser.new_context(**options)
            contexts.append(context)
            page = context.new_page()
            page.on(
                "console",
                # Reading pixels, as these tests do, draws a remark.
                lambda message: (
                    "willReadFrequently" in message.text
                    or noise.append(f"{message.type}: {message.text}")
                ),
            )
            page.on("pageerror", lambda error: noise.append(str(error)))
            page.on("dialog", lambda dialog: noise.append(dialog.message))
            page.on(
                "request",
                # The pages' own files; a clip inside of the page has a URL of its own.
                lambda request: (
                    request.url.startswith(("file:", "blob:", "data:")) or noise.append(request.url)
                ),
            )
            page.goto((folder / name).as_uri())
            if "report" in name:
                page.wait_for_selector('#stage[data-painted="0"]')
            return page

        yield open_page

    with closing() as open_page:
        yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def at(page: Any, index: int) -> None:
    page.wait_for_selector(f'#stage[data-painted="{index}"]')
    assert page.locator("#frame").input_value() == str(index)


def colour(page: Any, x: float, y: float) -> list[int]:
    return page.evaluate(PIXEL, [x, y])


@pytest.mark.parametrize("name", ["report.html", "linked/report.html"])
def test_steps_scrubbing_and_the_clip_follow_each_other(opened, name):
    page = opened(name)
    page.locator("#forward").click()
    at(page, 1)
    page.keyboard.press("Shift+ArrowRight")
    at(page, 11)
    page.keyboard.press("ArrowLeft")
    at(page, 10)
    assert page.locator("#readout").text_content() == "0:00.4  frame 10"
    page.keyboard.press("End")
    at(page, 29)
    page.keyboard.press("Home")
    at(page, 0)
    page.locator("#frame").fill("17")
    at(page, 17)
    box = page.locator("svg.track").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 5)
    page.wait_for_function("Math.abs(document.getElementById('frame').value - 15) < 2")
    page.locator(".happened summary").click()
    page.locator("button[data-frame='20']").click()
    at(page, 20)


def test_the_picture_is_that_of_the_frame(opened):
    page = opened("report.html")
    red = """x => { const canvas = document.getElementById("clip"), scale = canvas.width / 80;
        return canvas.getContext("2d").getImageData(x * scale, 16 * scale, 1, 1).data[0]; }"""
    for index in (0, 10, 3, 29, 28):
        page.locator("#frame").fill(str(index))
        at(page, index)
        left = 2 + 2 * index
        assert page.evaluate(red, left + 2) > 150 > 130 > page.evaluate(red, left - 2)
        assert page.evaluate(red, left + 14) > 150


def test_playing_ends_at_the_last_frame(opened):
    page = opened("report.html")
    page.keyboard.press(" ")
    at(page, 29)
    page.wait_for_function("document.getElementById('play').textContent === 'Play'")


def test_switches_solo_and_keys_change_what_is_drawn(opened):
    page = opened("report.html")
    page.keyboard.press("End")
    at(page, 29)
    page.locator("#numbers").uncheck()
    page.locator("#opacity").fill("1")
    ball, guest = (68, 15), (15, 42)
    page.wait_for_function("document.getElementById('stage').dataset.painted === '29'")
    expect(page, ball, (0x56, 0xB4, 0xE9))
    expect(page, guest, (0xE6, 0x9F, 0x00))
    page.locator(".row[data-id='1'] input").uncheck()
    expect(page, ball, (200, 20, 30))
    expect(page, guest, (0xE6, 0x9F, 0x00))
    page.keyboard.press("1")
    expect(page, ball, (0x56, 0xB4, 0xE9))
    page.locator(".row[data-id='2'] .solo").click()
    expect(page, guest, (0xE6, 0x9F, 0x00))
    expect(page, ball, (80, 8, 12))  # dimmed
    assert page.locator(".row[data-id='2'] .solo").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Shift+2")
    expect(page, ball, (0x56, 0xB4, 0xE9))
    page.locator("#none").click()
    expect(page, guest, (20, 20, 230))
    page.keyboard.press("0")
    expect(page, guest, (0xE6, 0x9F, 0x00))
    page.locator("#opacity").fill("0")
    expect(page, ball, (200, 20, 30))


def expect(page: Any, place: tuple[int, int], wanted: tuple[int, int, int]) -> None:
    """Waits until a pixel of the masks has a colour, within what the video's encoding loses."""
    page.wait_for_function(
        f"([x, y, r, g, b]) => ({PIXEL})([x, y]).every((value, at) => "
        "Math.abs(value - [r, g, b][at]) < 40)",
        arg=[*place, *wanted],
        timeout=5000,
    )


def test_views(opened):
    page = opened("report.html")
    assert page.locator("#clip").is_visible()
    page.keyboard.press("v")
    assert not page.locator("#clip").is_visible()
    page.get_by_role("button", name="Wipe").click()
    page.locator("#numbers").uncheck()
    page.locator("#opacity").fill("1")
    page.locator("#wipe").fill("1")
    expect(page, (10, 18), (200, 20, 30))
    page.locator("#wipe").fill("0")
    expect(page, (10, 18), (0x56, 0xB4, 0xE9))


def test_the_theme_follows_the_system_until_it_is_chosen(opened):
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = opened("report.html", color_scheme="light")
    dark = opened("report.html", color_scheme="dark")
    assert (light.evaluate(ground), dark.evaluate(ground)) == (
        "rgb(251, 251, 250)",
        "rgb(20, 23, 27)",
    )
    for theme, colours in (("light", "rgb(251, 251, 250)"), ("dark", "rgb(20, 23, 27)")):
        light.locator("#theme").click()
        assert light.locator("#theme").text_content() == f"Theme: {theme}"
        assert light.evaluate(ground) == colours


def test_every_control_is_reached_by_the_keyboard(opened):
    page = opened("report.html")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"theme", "play", "back", "forward", "frame", "opacity", "solo", "all"} <= reached


@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("name", ["report.html", "index.html", "run.html"])
def test_nothing_is_wider_than_the_screen(opened, name, width):
    page = opened(name, viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_names_with_markup_are_text(opened):
    page = opened("report.html")
    assert page.locator("h1").text_content() == HOSTILE
    assert page.locator("img[src='x']").count() == 0


def names(page: Any) -> list[str]:
    return page.locator(".card:visible h2").all_text_contents()


def test_the_batch_is_searched_and_sorted(opened):
    page = opened("index.html")
    assert names(page) == [HOSTILE, "ten.mp4", "two.mp4"]
    for order, first in (("name", HOSTILE), ("seconds", "two.mp4"), ("bytes", "ten.mp4")):
        page.locator("#sort").select_option(order)
        assert names(page)[0] == first
    page.keyboard.press("Tab")
    page.locator("#search").fill("moov FAILED")
    assert names(page) == [HOSTILE]
    assert page.locator("#found").text_content() == "1 shown"
    page.locator("#search").fill("nothing such")
    assert page.locator("#nothing").is_visible()
    page.locator("#search").fill("")
    assert page.locator(".card a").first.get_attribute("href") == "x/report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report.html", "index.html", "run.html"])
def test_nothing_serious_is_inaccessible(opened, name, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(name, color_scheme=scheme)
    found = axe.Axe().run(page).response["violations"]
    assert [own["id"] for own in found if own["impact"] in ("serious", "critical")] == []


def test_the_slider_of_a_run_shows_one_step_at_a_time(opened):
    page = opened("run.html")
    steps = lambda: page.locator(".sheet:not([hidden]) > span").all_text_contents()  # noqa: E731
    assert steps() == ["300"]
    page.locator("#step").focus()
    page.keyboard.press("ArrowLeft")
    assert steps() == ["200"]
    assert page.locator("#chosen").text_content() == "Step 200"
    assert page.locator("#step").get_attribute("aria-valuetext") == "step 200"
    image = page.locator(".sheet:not([hidden]) img")
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 80
    box = image.bounding_box()
    assert box["width"] / box["height"] == pytest.approx(2, rel=0.02)  # whole, with its frames
    page.locator("#all").check()
    assert steps() == ["100", "200", "300"]
    assert page.locator("#step").is_disabled()


def test_without_scripts_every_step_is_listed(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "run.html").as_uri())
    assert page.locator(".sheet").count() == 3
    assert page.locator("#scrubber").is_hidden()
    context.close()
