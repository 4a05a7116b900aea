"""The page in a browser, for every test that drives it: one Chromium, a page that may leave no error in the console and load
nothing from another machine, and the moves of a visitor."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from techniques import catalogue
from ui.page import slug

REQUIRED = os.environ.get("LOUPE_REQUIRE_BROWSER") == "1"
OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 60_000  # ms; what a busy machine may need for its first torch

# How many different colours the canvas shows, and a number that changes with every pixel.
COLOURS = """canvas => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const seen = new Set(); let hash = 0;
  for (let i = 0; i < data.length; i += 4) {
    const colour = data[i] * 65536 + data[i + 1] * 256 + data[i + 2];
    seen.add(colour); hash = (hash * 31 + colour) | 0;
  }
  return [seen.size, hash];
}"""


def _missing(reason: str) -> None:
    if REQUIRED:
        pytest.fail(f"{reason}, and LOUPE_REQUIRE_BROWSER=1")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """Chromium, started once."""
    try:
        from playwright.sync_api import expect, sync_playwright
    except ImportError:
        _missing("the package playwright is not installed")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        _missing("there is no chromium on this machine")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=list(OPTIONS))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, server) -> Iterator[Callable]:
    """Opens the page and waits for its first answer, unless told not to; at the end it looks for errors, in the browser and on the server, and
    for requests to other machines."""
    faults: list[str] = []
    contexts = []
    told = len(server.lines)

    def open_it(query: str = "", wait: bool = True, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: faults.append(f"console: {message.text}") if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(f"page: {error}"))
        page.on("request", lambda request: faults.append(request.url) if not request.url.startswith((server.url, "data:", "blob:")) else None)
        page.goto(server.url + query)
        if wait:
            page.wait_for_selector("#grad_cam-status .lp-done")
            page.wait_for_selector("#grad_cam-grad_cam loupe-map:visible .lp-canvas canvas")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert faults == []
    assert not any("Traceback" in line or "internal error" in line for line in server.lines[told:]), server.output()


@pytest.fixture
def page(open_page):
    return open_page()


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator)


def go_to(page, technique: str) -> None:
    page.click(f"#{slug('family', catalogue()[technique].family)}-button")
    page.click(f"#tab-{technique}-button")
    expect(page.locator(f"#{technique}-run")).to_be_visible()


def run(page, technique: str) -> None:
    """Press Run and wait for the answer to this press."""
    page.evaluate("name => document.querySelector(`#${name}-status .lp-done, #${name}-status .lp-error`)?.remove()", technique)
    page.click(f"#{technique}-run")
    expect(page.locator(f"#{technique}-status .lp-done")).to_be_visible()


def top_five(page) -> list[str]:
    """The five most probable classes as the page names them."""
    return page.locator("#top-five .lp-bar-name").all_inner_texts()


def shares(page) -> list[str]:
    return page.locator("#top-five .lp-bar-value").all_inner_texts()


def expect_top_five(page, top: list[dict]) -> None:
    """The page says what a manifest says."""
    expect(page.locator("#top-five .lp-bar-name")).to_have_text([entry["label"] for entry in top])
    shown = [float(share.rstrip(" %")) / 100 for share in shares(page)]
    assert shown == pytest.approx([entry["probability"] for entry in top], abs=6e-4)  # it is shown with one decimal


def set_number(page, selector: str, value: float) -> None:
    box = page.locator(f"{selector} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def type_into(page, selector: str, text: str) -> None:
    """Write something of one's own into a list, and confirm it."""
    box = page.locator(f"{selector} input")
    box.click()
    box.fill(text)
    box.press("Enter")


def pick_model(page, search: str, key: str) -> None:
    """Search the list of models and click on one."""
    box = page.locator("#model input")
    box.click()
    box.fill("")
    box.press_sequentially(search)
    first = page.locator("#model-answers .lp-model").first
    expect(first).to_have_attribute("data-model", key)  # the list has come to rest
    first.click()


def choose(page, selector: str, search: str, option: str) -> None:
    box = page.locator(f"{selector} input")
    box.click()
    box.fill("")
    box.press_sequentially(search)
    page.locator(selector).get_by_role("option", name=option).first.click()


def saved(page, technique: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The manifest and the arrays of what Download gives."""
    with page.expect_download() as download:
        page.click(f"#{technique}-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        with np.load(io.BytesIO(archive.read("arrays.npz"))) as arrays:
            return json.loads(archive.read("manifest.json")), dict(arrays)


def stroke(page, canvas, *places: tuple[float, float]) -> None:
    """Draw through these places of the canvas, in shares of its width and height."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=6)
    page.mouse.up()


def upload(page, path: Path) -> None:
    page.set_input_files("#picture input[type=file]", str(path))
