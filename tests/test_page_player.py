"""Watching a run: the picture as it goes, the replay with its curves and its files, and what a Stop keeps."""

from __future__ import annotations

import io

from PIL import Image

from tests.page_browser import expect, go_to, run, saved, set_number

STEPS = 12


def frame(page) -> str:
    return page.inner_text("#pgd-replay .lp-frame")


def pixels(page) -> str:
    return page.locator("#pgd-replay canvas").evaluate("canvas => canvas.toDataURL()")


def marks(page) -> set[str]:
    """Where the lines stand in the curves, those that are not shown too."""
    return set(page.locator("#pgd-curves .lp-place").evaluate_all("lines => lines.map(line => line.getAttribute('x1'))"))


def test_a_run_is_replayed_with_its_curves_and_taken_away_as_a_film(open_page):
    page = open_page("?model=bundled/digits&picture=digit_3", reduced_motion="reduce")
    go_to(page, "pgd")
    set_number(page, "#pgd-steps", STEPS)
    run(page, "pgd")
    player = page.locator("#pgd-replay loupe-player")
    slider = player.locator("input")
    expect(player.locator(".lp-frame")).to_contain_text(f"step {STEPS}: ")  # with less motion it rests at the end
    assert player.locator("canvas").get_attribute("class") == "lp-small"
    last = pixels(page)
    slider.focus()
    page.keyboard.press("Home")
    expect(player.locator(".lp-frame")).to_contain_text("step 0: 3 ")
    assert pixels(page) != last and slider.get_attribute("aria-valuetext").startswith("step 0: ")
    first = marks(page)
    page.keyboard.press("ArrowRight")
    expect(player.locator(".lp-frame")).to_contain_text("step 1: ")
    assert len(marks(page)) >= 1 and marks(page) != first
    page.locator("#pgd-curves svg:visible [data-at]").nth(5).hover()
    expect(player.locator(".lp-frame")).to_contain_text("step 5: ")
    player.get_by_role("button", name="Play").click()
    expect(player.locator(".lp-frame")).to_contain_text(f"step {STEPS}: ")
    expect(player.get_by_role("button", name="Play")).to_be_visible()  # it ends there and can begin anew
    for kind in ("GIF", "MP4"):
        with page.expect_download() as download:
            player.get_by_role("button", name=kind).click()
        content = download.value.path().read_bytes()
        assert download.value.suggested_filename == f"pgd-replay.{kind.lower()}"
        assert Image.open(io.BytesIO(content)).n_frames == STEPS + 1 if kind == "GIF" else content[4:8] == b"ftyp"


def test_what_a_stopped_run_has_come_to_is_kept_and_can_be_sent_on(page):
    go_to(page, "pgd")
    set_number(page, "#pgd-steps", 200)
    set_number(page, "#pgd-restarts", 20)
    page.click("#pgd-run")
    live = page.locator("#pgd-replay loupe-player .lp-frame")
    expect(live).to_contain_text("step ")
    early = frame(page)
    expect(live).not_to_have_text(early)  # it moves while the run goes on
    assert page.locator("#pgd-replay loupe-player input").is_hidden()
    page.click("#pgd-stop")
    expect(page.locator("#pgd-status")).to_contain_text("What is shown is as far as it came.")
    expect(page.locator("#pgd-replay loupe-player input")).to_be_visible()
    about, arrays = saved(page, "pgd")
    assert about["unfinished"].endswith("of 4000") and about["unfinished"] in page.inner_text("#pgd-status")
    assert 1 < len(arrays["replay"]) == len(next(panel for panel in about["panels"] if panel["name"] == "replay")["names"])
    page.locator("#pgd-adversarial select.lp-send").select_option("saliency")
    expect(page.locator("#origin")).to_contain_text("PGD, epsilon 2/255, of Church")
