"""The pair: a picture with the one it was made from, and the switch by which techniques for one picture are run on both."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

from techniques.base import Predictions, Sample
from techniques.base.drawing.svg import percent
from techniques.base.sample import to_image
from techniques.base.side_by_side import SIDES
from ui.files import png_bytes
from ui.panels import data_url
from ui.session import Session


@dataclass(frozen=True)
class PairBox:
    """The components of the switch; hidden as long as there is no pair."""

    switch: gr.Checkbox
    pictures: gr.HTML

    @property
    def outputs(self) -> list:
        return [self.switch, self.pictures]


def build_pair_box() -> PairBox:
    with gr.Row(elem_id="pair-box"):
        pictures = gr.HTML("", elem_id="pair")
        label, info = "Compare the two", "Heat maps and pictures of both, before and after, and the difference"
        switch = gr.Checkbox(label=label, info=info, visible=False, interactive=True, elem_id="both")
    return PairBox(switch, pictures)


def pair_values(session: Session, pair: tuple[Sample, Sample] | None, said: Predictions | None = None) -> list:
    """Values for the outputs of a box: the current pair, and what the model says of each of the two."""
    if pair is None:
        return [gr.Checkbox(visible=False, value=False), ""]
    figures = "".join(_figure(side, sample, said.top(1, row)[0] if said else None) for row, (side, sample) in enumerate(zip(SIDES, pair)))
    return [gr.Checkbox(visible=True, value=session.comparing), f"<div class='lp-pair'>{figures}</div>"]


def _figure(side: str, sample: Sample, best: tuple[int, str, float] | None) -> str:
    """One picture with where it comes from and its most probable class."""
    small = " class='lp-small'" if sample.pixels.shape[-1] <= 64 else ""
    says = f"<b>{escape(best[1])}</b> {percent(best[2])}" if best else ""
    image = f"<img{small} src='{data_url(png_bytes(to_image(sample.pixels[0])))}' alt='{side}: {escape(sample.origin)}'>"
    return f"<figure>{image}<figcaption><span>{side}</span>{escape(sample.origin)}<span>{says}</span></figcaption></figure>"
