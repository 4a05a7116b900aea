"""Walking through a large browser of results (every filter of every layer) one cell at a time, from memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from techniques.base import Browser, Gallery, Heatmap, Stack
from techniques.base.drawing import gallery_scales, item_image, tiles
from techniques.base.results import Result, panels
from ui.events import LIGHT
from ui.files import png_bytes
from ui.panels import body, caption, data_url, place_of
from ui.session import Answered, Sessions

SWITCH_LIMIT = 12  # so many cells go to the page at once, with pills to choose; more are asked for one by one
TOP = 24  # cells of the inner axis that are shown small
THUMBNAIL = 48  # pixels
TILE_PIXELS = 2**17  # of all tiles of a layer together
MOST_TILES = 2048  # so many are shown at once; further ones are reached with the slider
PARTS = 3  # components that walk through one browser

FORWARD_PICKS = """
element.addEventListener('click', (event) => {
  const tick = event.target.closest('[data-tick]');
  if (tick) trigger('pick', {name: tick.dataset.tick});
});"""
FORWARD_OPEN = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-place]');
  if (button) trigger('open', {place: button.dataset.place});
});"""


@dataclass(frozen=True)
class Axes:
    """The controls of a large browser: a list for the outer axis, a slider for the inner one, and its first cells, small."""

    outer: gr.Dropdown
    inner: gr.Slider
    top: gr.HTML

    @property
    def all(self) -> tuple:
        return self.outer, self.inner, self.top


def build_axes(technique: str, panel: str) -> Axes:
    with gr.Row(elem_classes="lp-axes"):
        outer = gr.Dropdown([], label="", visible=False, interactive=True, elem_id=f"{technique}-{panel}-outer")
        inner = gr.Slider(1, 2, 1, step=1, label="", visible=False, interactive=True, elem_id=f"{technique}-{panel}-inner")
    top = gr.HTML("", elem_id=f"{technique}-{panel}-top", js_on_load=FORWARD_OPEN)
    return Axes(outer, inner, top)


def is_large(browser: Browser) -> bool:
    return len(browser.axes) > 1 or len(browser.positions()) > SWITCH_LIMIT


def cell_at(result: Result | None, path: Any) -> Result | None:
    """What the page calls by the path of a browser's cell: that cell, or the result itself where it is no browser; None where there is no such
    place."""
    if not isinstance(result, Browser):
        return result
    if not isinstance(path, list) or len(path) != len(result.axes):
        return None
    for depth, step in enumerate(path):
        if step not in result.positions(*path[:depth]):
            return None
    return result.cell(*path)


def set_axes(browser: Browser | None) -> list:
    """The controls for an answer that has just come: at its first cell, or hidden when all cells are shown."""
    if browser is None or not is_large(browser):
        return [gr.Dropdown(visible=False), gr.Slider(visible=False), ""]
    outer = first_outer(browser)
    names = list(browser.positions()) if outer else []
    chooser = gr.Dropdown(choices=names, value=outer, label=browser.axes[0].capitalize(), visible=bool(outer))
    return [chooser, _inner(browser, outer), top_html(browser, outer)]


def first_outer(browser: Browser) -> str | None:
    """Where the outer axis starts; None when there is only one axis."""
    return browser.positions()[0] if len(browser.axes) > 1 else None


def _inner(browser: Browser, outer: str | None) -> gr.Slider:
    count = len(browser.positions(*_path(outer)))
    return gr.Slider(minimum=1, maximum=max(2, count), value=1, label=f"{browser.axes[-1].capitalize()} (of {count})", visible=count > 1)


def _path(outer: str | None) -> tuple[str, ...]:
    return (outer,) if outer else ()


def cell_html(browser: Browser, answered: Answered, outer: str | None, inner: float = 1) -> str:
    """One cell of a large browser; an inner position outside moves to the nearest one."""
    positions = browser.positions(*_path(outer))
    place = positions[min(max(int(inner), 1), len(positions)) - 1]
    cell = browser.cell(*_path(outer), place)
    title = escape(" · ".join([*_path(outer), place]))
    told = "" if escape(cell.caption.replace(", ", " · ")) == title else caption(cell)
    shown = f"<h4>{title}</h4>{body(cell, answered.sample)}{told}"
    return f"<section class='lp-panel lp-browser' {place_of(*_path(outer), place)}>{shown}</section>"


def top_html(browser: Browser, outer: str | None) -> str:
    """Cells of the inner axis as small pictures to open: all of them, as far as they fit, where they name a tile; else of the first ones, which
    are the largest where the axis is ordered, the last map, all on one scale; "" where the cells are no heat maps side by side."""
    names = browser.positions(*_path(outer))
    shown = tiles(browser, _path(outer), _side(len(names))) if len(names) > 1 else None
    shown, told = (shown, "") if shown else (_last_maps(browser, outer, names[:TOP]), ": {}, on one scale")
    if not shown:
        return ""
    items, scales = shown.items[:MOST_TILES], gallery_scales(shown)
    pictures = (data_url(png_bytes(item_image(item, scale=scale))) for item, scale in zip(items, scales))
    buttons = "".join(
        f"<button type='button' data-place='{place}' title='Open {escape(name)}'><img src='{picture}' alt='{escape(name)}'>"
        f"<span>{escape(name.rpartition(' ')[2])}</span></button>"
        for place, (name, picture) in enumerate(zip(names, pictures), 1)
    )
    first = "The first" if len(names) > len(items) else "All"
    line = f"{first} {len(items)}{told.format(escape(shown.names[-1]))}. Click to open."
    return f"<p class='lp-hint'>{line}</p><div class='lp-top{' lp-all' if not told else ''}'>{buttons}</div>"


def _side(count: int) -> int:
    """Pixels of a side of each of so many tiles, fewer the more there are: the page has to take them all."""
    return max(4, min(THUMBNAIL, math.isqrt(TILE_PIXELS // count)))


def _last_maps(browser: Browser, outer: str | None, names: tuple[str, ...]) -> Gallery | None:
    """The last map of each of these cells, under that map's name in its cell; None where they are no heat maps side by side."""
    many = len(names) > 1 and (len(browser.axes) > 1 or isinstance(browser.cells, Stack))
    cells = [browser.cell(*_path(outer), name) for name in names] if many else []
    if not cells or not all(isinstance(cell, Gallery) and isinstance(cell.items[-1], Heatmap) for cell in cells):
        return None
    return Gallery(tuple(_thinned(cell.items[-1]) for cell in cells), tuple(cell.names[-1] for cell in cells))


def _thinned(item: Heatmap) -> Heatmap:
    """A map with some of its values only, enough for a thumbnail."""
    step = -(-max(item.values.shape) // THUMBNAIL)
    return replace(item, values=item.values[::step, ::step])


def wire_browsers(
    technique: str, axes: dict[str, Axes], places: dict[str, gr.HTML], charts: list[str], session_state: gr.State, sessions: Sessions
) -> None:
    """Answer every move through the browsers of a technique from the answer the session keeps: their lists and sliders, the
    small pictures, and clicks in the `charts` (names of panels) whose ticks are called as the places of a browser."""

    def find(session_id: str) -> Answered | None:
        session = sessions.find(session_id)
        return session.answers.get(technique) if session else None

    def shown(panel: str, session_id: str, outer: str | None, inner: float = 1) -> tuple[Browser, str] | None:
        """The browser of a panel with one of its cells; None where it has no such place (any longer)."""
        answered = find(session_id)
        browser = panels(answered.answer).get(panel) if answered else None
        if not isinstance(browser, Browser) or (len(browser.axes) > 1) != bool(outer) or (outer and outer not in browser.positions()):
            return None
        return browser, cell_html(browser, answered, outer, inner)

    def change_outer(panel: str, session_id: str, outer: str | None) -> list:
        found = shown(panel, session_id, outer)
        return [_inner(found[0], outer), top_html(found[0], outer), found[1]] if found else [gr.skip()] * 3

    def change_inner(panel: str, session_id: str, outer: str | None, inner: float) -> str:
        found = shown(panel, session_id, outer or None, inner)
        return found[1] if found else gr.skip()

    def opens(panel: str) -> Callable:
        def open_place(session_id: str, outer: str | None, event: gr.EventData) -> list:
            place = str(event._data.get("place"))
            found = shown(panel, session_id, outer or None, int(place)) if place.isdecimal() and len(place) < 6 else None
            return [int(place), found[1]] if found else [gr.skip()] * 2

        return open_place

    def pick(session_id: str, event: gr.EventData) -> list:
        return [value for panel in axes for value in picked(panel, session_id, str(event._data.get("name")))]

    def picked(panel: str, session_id: str, name: str) -> list:
        """The place of this name in one browser: on its outer axis, or on its only one."""
        answered = find(session_id)
        browser = panels(answered.answer).get(panel) if answered else None
        if not isinstance(browser, Browser) or not is_large(browser) or name not in browser.positions():
            return [gr.skip()] * (PARTS + 1)
        if len(browser.axes) > 1:
            return [name, _inner(browser, name), top_html(browser, name), cell_html(browser, answered, name)]
        place = browser.positions().index(name) + 1
        return [gr.skip(), place, gr.skip(), cell_html(browser, answered, None, place)]

    for panel, parts in axes.items():
        last = {"trigger_mode": "always_last", **LIGHT}
        html = places[panel]
        outputs = [parts.inner, parts.top, html]
        parts.outer.input(partial(change_outer, panel), [session_state, parts.outer], outputs, show_progress_on=parts.outer, **last)
        parts.inner.input(partial(change_inner, panel), [session_state, parts.outer, parts.inner], html, **last)
        parts.top.open(opens(panel), [session_state, parts.outer], [parts.inner, html], trigger_mode="multiple", **LIGHT)
    for chart in charts if axes else ():
        outputs = [part for panel, parts in axes.items() for part in (*parts.all, places[panel])]
        chosen = places[chart].pick(pick, session_state, outputs, show_progress_on=places[chart], trigger_mode="multiple", **LIGHT)
        first = f"{technique}-{next(iter(axes))}-outer"
        chosen.success(None, js=f"() => document.getElementById('{first}')?.scrollIntoView({{block: 'nearest', behavior: 'smooth'}})", **LIGHT)
