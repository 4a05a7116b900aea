"""The page in a browser, for every test that drives it: one Chromium, a page that may leave no error in the console and load
nothing from another machine, and the moves of a visitor."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from techniques import catalogue
from ui.page import slug
from ui.samples import sample

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


@dataclass
class Tab:
    """A tab of the browser in a context of its own, and what has gone wrong in it."""

    page: object
    plain: bool
    faults: list[str] = field(default_factory=list)


class Tabs:
    """The tabs of the browser. One that has shown the page already shows it again in two thirds of the time, so it is kept, wiped of all
    that a visitor leaves behind; one of another size, or with other options, is not."""

    def __init__(self, browser, server):
        self.browser, self.server = browser, server
        self.free: list[Tab] = []

    def take(self, **options) -> Tab:
        if self.free and not options:
            return self.free.pop()
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(PATIENCE)
        tab = Tab(context.new_page(), plain=not options)
        tab.page.on("console", lambda message: tab.faults.append(f"console: {message.text}") if message.type == "error" else None)
        tab.page.on("pageerror", lambda error: tab.faults.append(f"page: {error}"))
        ours = (self.server.url, "data:", "blob:", "about:blank")
        tab.page.on("request", lambda request: None if request.url.startswith(ours) else tab.faults.append(request.url))
        return tab

    def visit(self, tab: Tab, query: str = "", wait: bool = True) -> None:
        """Open the page in a tab, and wait for its first answer."""
        tab.page.goto(self.server.url + query)
        if wait:
            tab.page.wait_for_selector("#grad_cam-status .lp-done")
            tab.page.wait_for_selector("#grad_cam-grad_cam loupe-map:visible .lp-canvas canvas")

    def leave(self, tab: Tab) -> None:
        """Leave the page and all that it knows of its visitor, for the next one; a tab with options of its own is closed."""
        if not tab.plain:
            tab.page.context.close()
            return
        tab.page.evaluate("localStorage.clear(); sessionStorage.clear()")
        tab.page.context.clear_cookies()
        tab.page.goto("about:blank")
        tab.faults.clear()
        self.free.append(tab)

    @contextmanager
    def watched(self, request, leave: Callable[[Tab], None]) -> Iterator[list[Tab]]:
        """The tabs that a test uses; after it no error may stand in them or on the server, and no request to another machine. Those with
        which all went well are left to `leave`, others closed."""
        used: list[Tab] = []
        told, failed = len(self.server.lines), request.session.testsfailed
        yield used
        faults = [fault for tab in used for fault in tab.faults]
        for tab in used:
            if faults or request.session.testsfailed > failed:
                tab.page.context.close()
            else:
                leave(tab)
        assert faults == [], faults
        assert not any("Traceback" in line or "internal error" in line for line in self.server.lines[told:]), self.server.output()


@pytest.fixture(scope="session")
def tabs(browser, server) -> Tabs:
    return Tabs(browser, server)


@pytest.fixture
def open_page(request, tabs) -> Iterator[Callable]:
    """Opens the page for a new visitor and waits for its first answer, unless told not to; at the end it looks for errors, in the browser and
    on the server, and for requests to other machines."""
    with tabs.watched(request, tabs.leave) as used:

        def open_it(query: str = "", wait: bool = True, **options):
            tab = tabs.take(**options)
            used.append(tab)
            tabs.visit(tab, query, wait)
            return tab.page

        yield open_it


@pytest.fixture
def page(open_page):
    """The page of a new visitor, with its first answer."""
    return open_page()


@pytest.fixture(scope="module")
def shared_tab(tabs) -> Iterator[list[Tab]]:
    """The tab that tests of a file have left for its others, if any."""
    left: list[Tab] = []
    yield left
    for tab in left:
        tabs.leave(tab)


@pytest.fixture
def shared_page(request, tabs, shared_tab):
    """The page as the tests of this file before left it, opened anew after one that failed. Each test brings about what it needs, whatever it
    finds, and is looked after as with `open_page`."""
    with tabs.watched(request, shared_tab.append) as used:
        if shared_tab:
            used.append(shared_tab.pop())
        else:
            used.append(tabs.take())
            tabs.visit(used[0])
        yield used[0].page


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


def begin_with(page, picture: str = "church", model: str = "bundled/imagenette") -> None:
    """Bring a page that other tests have used to the first technique, a bundled model and one of the samples for it, and its prediction."""
    go_to(page, "grad_cam")
    page.keyboard.press("Escape")
    expect(page.locator("#model input")).to_have_value(re.compile("^bundled/(digits|imagenette)$"))  # and not what was searched for
    if page.input_value("#model input") != model:
        predicted_anew(page, lambda: pick_model(page, model, model))
    if page.inner_text("#origin") != sample(picture).title:
        predicted_anew(page, lambda: page.click(f"#samples button[data-sample={picture}]"))
    expect(page.locator("#model input")).to_have_value(model)
    expect(page.locator("#origin")).to_have_text(sample(picture).title)


def predicted_anew(page, act: Callable[[], None]) -> None:
    """Do what changes the prediction, and wait for it."""
    page.evaluate("document.querySelectorAll('#top-five .lp-bar').forEach((bar) => bar.remove())")
    act()
    expect(page.locator("#top-five .lp-bar").first).to_be_visible()


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
