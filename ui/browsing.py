"""Walking through a large browser of results (every filter of every layer) one cell at a time, from memory."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

from techniques.base import Browser
from techniques.base.results import panels
from ui.events import LIGHT
from ui.panels import body, caption
from ui.session import Answered, Sessions

SWITCH_LIMIT = 12  # so many cells go to the page at once, with pills to choose; more are asked for one by one


@dataclass(frozen=True)
class Axes:
    """The controls of a large browser: a list for the outer axis, a slider for the inner one."""

    outer: gr.Dropdown
    inner: gr.Slider


def build_axes(technique: str, panel: str) -> Axes:
    with gr.Row(elem_classes="lp-axes"):
        outer = gr.Dropdown([], label="", visible=False, interactive=True, elem_id=f"{technique}-{panel}-outer")
        inner = gr.Slider(1, 2, 1, step=1, label="", visible=False, interactive=True, elem_id=f"{technique}-{panel}-inner")
    return Axes(outer, inner)


def is_large(browser: Browser) -> bool:
    return len(browser.axes) > 1 or len(browser.positions()) > SWITCH_LIMIT


def set_axes(browser: Browser | None) -> list:
    """The two controls for an answer that has just come: at its first cell, or hidden when all cells are shown."""
    if browser is None or not is_large(browser):
        return [gr.Dropdown(visible=False), gr.Slider(visible=False)]
    outer = first_outer(browser)
    names = list(browser.positions()) if outer else []
    return [gr.Dropdown(choices=names, value=outer, label=browser.axes[0].capitalize(), visible=bool(outer)), _inner(browser, outer)]


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
    return f"<section class='lp-panel lp-browser'><h4>{title}</h4>{body(cell, answered.sample)}{caption(cell)}</section>"


def wire_axes(technique: str, panel: str, axes: Axes, html: gr.HTML, session_state: gr.State, sessions: Sessions) -> None:
    """Answer a move of either control from the answer the session keeps."""

    def find(session_id: str, outer: str | None) -> tuple[Browser, Answered] | None:
        session = sessions.find(session_id)
        answered = session.answers.get(technique) if session else None
        browser = panels(answered.answer)[panel] if answered else None
        return (browser, answered) if browser and (outer is None or outer in browser.positions()) else None

    def change_outer(session_id: str, outer: str | None) -> list:
        found = find(session_id, outer)
        return [_inner(found[0], outer), cell_html(*found, outer)] if found else [gr.skip(), gr.skip()]

    def change_inner(session_id: str, outer: str | None, inner: float) -> str:
        found = find(session_id, outer or None)
        return cell_html(*found, outer or None, inner) if found else gr.skip()

    axes.outer.input(change_outer, [session_state, axes.outer], [axes.inner, html], trigger_mode="always_last", **LIGHT)
    axes.inner.input(change_inner, [session_state, axes.outer, axes.inner], html, trigger_mode="always_last", **LIGHT)
