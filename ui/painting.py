"""Painting over the current picture: the canvas for techniques that take a mask."""

from __future__ import annotations

from html import escape

import gradio as gr
import numpy as np

from model_zoo.loaded import LoadedModel
from techniques.base import Sample
from techniques.base.class_maps import has_no_places
from techniques.base.covering import BOTH, MARKED
from techniques.base.parameters import MASKS
from techniques.base.sample import to_image
from ui.choosing import painting
from ui.events import LIGHT
from ui.files import png_bytes
from ui.header import Header
from ui.panels import data_url
from ui.session import Sessions

FORWARD = """
element.addEventListener('painted', (event) => trigger('paint', {areas: event.detail}));
element.addEventListener('marked', () => trigger('mark', {}));"""
OPAQUE = 127  # of 255; a brush has a soft edge


def build_canvas(technique: str) -> gr.HTML:
    return gr.HTML("<p class='lp-hint'>Choose a picture first.</p>", elem_id=f"{technique}-paint", js_on_load=FORWARD)


def canvas(sample: Sample, model: LoadedModel, marks: bool) -> str:
    """Brushes over what the model sees, for several areas; with `marks` a button that covers what Grad-CAM marks."""
    height, width = sample.pixels.shape[-2:]
    picture = data_url(png_bytes(to_image(sample.pixels[0]).convert("RGB")))
    reason = has_no_places(model)
    button = f"marks='{escape(f'Not here: {reason}.') if reason else ''}'" if marks else ""
    return (
        f"<p class='lp-hint'>Paint over the picture; the answer follows each stroke. Up to {MASKS} areas are told apart.</p>"
        f"<loupe-paint mode='mask' width='{width}' height='{height}' areas='{MASKS}' of='{sample.sha256}' {button} picture='{picture}'></loupe-paint>"
    )


def wire_painting(paint: gr.HTML, technique: str, region: gr.components.Component | None, header: Header, sessions: Sessions) -> list:
    """Keep the painted areas in the visitor's session; returns the events after which there is something to run.

    `region` is the control that says whether Grad-CAM's area counts: the button adds it, a stroke never takes it away.
    What runs while the next stroke is finished ends, as its answer is out of date.
    """

    def keep(session_id: str, event: gr.EventData) -> None:
        session, areas = sessions.find(session_id), event._data.get("areas")
        drawn = [painting(png) for png in areas[:MASKS]] if isinstance(areas, list) else []
        if session is None or not drawn or None in drawn:
            return
        masks = [np.asarray(image)[..., 3] > OPAQUE for image in drawn]
        session.masks.pop(technique, None)
        if any(mask.any() for mask in masks):
            session.masks[technique] = masks
        session.stop(technique)

    def keep_and_count(session_id: str, chosen: str, event: gr.EventData) -> str | dict:
        keep(session_id, event)
        return BOTH if chosen == MARKED else gr.skip()

    def mark(session_id: str) -> str:
        session = sessions.find(session_id)
        if session is not None:
            session.stop(technique)
        return BOTH

    if region is None:
        return [paint.paint(keep, header.session, None, trigger_mode="multiple", **LIGHT)]
    return [
        paint.paint(keep_and_count, [header.session, region], region, trigger_mode="multiple", **LIGHT),
        paint.mark(mark, header.session, region, trigger_mode="multiple", **LIGHT),
    ]
