"""Painting over the current picture: the canvas for techniques that take a mask."""

from __future__ import annotations

import gradio as gr
import numpy as np

from techniques.base import Sample
from techniques.base.sample import to_image
from ui.choosing import painting
from ui.events import LIGHT
from ui.files import png_bytes
from ui.header import FORWARD_STROKES, Header
from ui.panels import data_url
from ui.session import Sessions


def build_canvas(technique: str) -> gr.HTML:
    return gr.HTML("<p class='lp-hint'>Choose a picture first.</p>", elem_id=f"{technique}-paint", js_on_load=FORWARD_STROKES)


def canvas(sample: Sample) -> str:
    """A brush over what the model sees."""
    height, width = sample.pixels.shape[-2:]
    picture = data_url(png_bytes(to_image(sample.pixels[0]).convert("RGB")))
    return (
        "<p class='lp-hint'>Paint over the picture; the answer follows each stroke.</p>"
        f"<loupe-paint mode='mask' width='{width}' height='{height}' picture='{picture}'></loupe-paint>"
    )


def wire_painting(paint: gr.HTML, technique: str, header: Header, sessions: Sessions):
    """Keep the painted area in the visitor's session; returns the event of a finished stroke."""

    def keep(session_id: str, event: gr.EventData) -> None:
        session, drawn = sessions.find(session_id), painting(event._data.get("png"))
        if session is None or drawn is None:
            return
        mask = np.asarray(drawn)[..., 3] > 0
        session.masks[technique] = mask if mask.any() else None

    return paint.paint(keep, header.session, None, trigger_mode="multiple", **LIGHT)
