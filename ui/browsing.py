"""Walking through a large browser of results (every filter of every layer) one cell at a time, from memory.

The page asks for one cell after the other and puts the parts that change into the panel itself.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from techniques.base import Browser, Gallery, Heatmap, Stack
from techniques.base.drawing import gallery_scales, item_image, tiles
from techniques.base.results import Result, panels
from ui.events import told
from ui.files import png_bytes
from ui.panels import body, caption, data_url, place_of
from ui.session import Answered, Sessions

SWITCH_LIMIT = 12  # so many cells go to the page at once, with pills to choose; more are asked for one by one
TOP = 24  # cells of the inner axis that are shown small
THUMBNAIL = 48  # pixels
TILE_PIXELS = 2**17  # of all tiles of a layer together
MOST_TILES = 2048  # so many are shown at once; further ones are reached with the slider


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


def browser_html(browser: Browser, answered: Answered, panel: str) -> str:
    """A large browser where the visitor stands in this panel: a list for the outer axis and a slider for the inner one, cells of that one small,
    and the cell."""
    outer, inner = _standing(browser, answered.at.get(panel))
    axes = {
        "outer": list(browser.positions()) if outer else [],
        "outerLabel": browser.axes[0].capitalize(),
        "innerLabel": browser.axes[-1].capitalize(),
        "count": _count(browser, outer),
        "at": {"outer": outer, "inner": inner},
    }
    return (
        f"<section class='lp-panel lp-browser'><loupe-axes axes='{escape(json.dumps(axes))}' turn='{secrets.token_hex(4)}'></loupe-axes>"
        f"<div data-part='top'>{top_html(browser, outer)}</div><div data-part='cell'>{cell_html(browser, answered, outer, inner)}</div></section>"
    )


def _standing(browser: Browser, at: tuple[str | None, int] | None) -> tuple[str | None, int]:
    """The place `at` which one stood in an earlier answer, as far as this one has it, else the first."""
    outer, inner = at or (None, 1)
    if len(browser.axes) == 1:
        outer = None
    elif outer not in browser.positions():
        outer, inner = browser.positions()[0], 1
    return outer, min(inner, _count(browser, outer))


def _count(browser: Browser, outer: str | None) -> int:
    return len(browser.positions(*_path(outer)))


def _path(outer: str | None) -> tuple[str, ...]:
    return (outer,) if outer else ()


def cell_html(browser: Browser, answered: Answered, outer: str | None, inner: int) -> str:
    """One cell of a large browser; inner positions count from 1."""
    place = browser.positions(*_path(outer))[inner - 1]
    cell = browser.cell(*_path(outer), place)
    title = escape(" · ".join([*_path(outer), place]))
    told = "" if escape(cell.caption.replace(", ", " · ")) == title else caption(cell)
    shown = f"<h4>{title}</h4>{body(cell, answered.sample)}{told}"
    return f"<div {place_of(*_path(outer), place)}>{shown}</div>"


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


def walk_handler(places: dict[str, tuple[str, str]], sessions: Sessions) -> Callable[[str, gr.EventData], str]:
    """The handler behind every move through a large browser, from the answer the session keeps; `places` are the techniques and
    panels by the id of their component.

    The page asks with the `place`; the cell `outer`, `inner` (from 1), with `turned` where it is another `outer`; or with a `tick`, the name of a
    position that was clicked in a chart. It is told the parts that change; the place alone where there is no such cell (any longer).
    """

    def walk(session_id: str, event: gr.EventData) -> str:
        asked = event._data
        place = str(asked.get("place"))
        technique, panel = places.get(place, ("", ""))
        session = sessions.find(session_id)
        answered = session.answers.get(technique) if session else None
        browser = panels(answered.answer).get(panel) if answered else None
        if not isinstance(browser, Browser) or not is_large(browser):
            return told(place=place)
        goal = _goal(browser, asked)
        if goal is None:
            return told(place=place)
        answered.at[panel] = outer, inner = goal
        news = {"cell": cell_html(browser, answered, outer, inner)}
        if "tick" in asked:
            news |= {"scroll": place, "inner": str(inner), **({"outer": outer} if outer else {})}
        if outer and ("tick" in asked or asked.get("turned")):
            news |= {"count": str(_count(browser, outer)), "top": top_html(browser, outer)}
        return told(place=place, **news)

    return walk


def _goal(browser: Browser, asked: dict[str, Any]) -> tuple[str | None, int] | None:
    """Where a page wants to go: to a cell, or to a name on the outer axis or the only one. None where there is no such place."""
    if "tick" in asked:
        name, places = str(asked["tick"]), browser.positions()
        if name not in places:
            return None
        return (name, 1) if len(browser.axes) > 1 else (None, places.index(name) + 1)
    outer, inner = asked.get("outer") or None, asked.get("inner")
    if (len(browser.axes) > 1) != bool(outer) or (outer and outer not in browser.positions()) or not isinstance(inner, int):
        return None
    return outer, min(max(inner, 1), _count(browser, outer))
