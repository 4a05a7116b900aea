"""One component that hears of what all techniques have in common: Stop and Download, moves through a browser, films of a replay, trust
in a map. An event of each technique's own would make the page slow (`ui.events`).

A press on an element with `data-ring`, or a "ring" event of the page whose detail has a `ring`, becomes the bell's event of
that name; it brings along what else stands in the element's data attributes, or in the detail.
"""

from __future__ import annotations

from html import escape

import gradio as gr

from ui.header import LISTEN

FORWARD = """
const events = ['stop', 'save', 'film', 'walk', 'measure'];
const ring = (data) => { if (events.includes(data.ring)) trigger(data.ring, data); };
document.addEventListener('ring', (event) => ring(event.detail));
document.addEventListener('click', (event) => {
  const pressed = event.target.closest('[data-ring]');
  if (pressed) ring({...pressed.dataset});
});""" + LISTEN


def build_bell() -> gr.HTML:
    return gr.HTML("", elem_id="bell", js_on_load=FORWARD)


def ring(event: str, words: str, elem_id: str = "", disabled: bool = False, **data: str) -> str:
    """A button that rings the bell, as HTML."""
    brought = "".join(f" data-{name}='{escape(value)}'" for name, value in data.items())
    own = f" id='{escape(elem_id)}'" if elem_id else ""
    return f"<button type='button' class='lp-ring'{own} data-ring='{event}'{brought}{' disabled' if disabled else ''}>{escape(words)}</button>"
