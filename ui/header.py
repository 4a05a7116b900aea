"""The workbench above the techniques: one picture, one model, one class, layer and seed, shared by all of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape

import gradio as gr

from ui.model_search import ModelSearch, build_search
from ui.own_model import OwnModel, build_own_model
from ui.samples import SamplePicture, digits, photographs
from ui.upload import PictureInput

BRAND = """
<header class='lp-brand'>
  <svg viewBox='0 0 32 32' aria-hidden='true'>
    <circle cx='13' cy='13' r='9.5'/><path d='M20 20l9 9'/><circle class='lp-dot' cx='13' cy='13' r='3.5'/></svg>
  <h1>Loupe</h1><p>See how an image classifier decides, and how it is fooled.</p>
  <button type='button' class='lp-theme' title='Light or dark' aria-label='Light or dark'>◐</button>
</header>"""

# A custom gr.HTML passes on what its elements tell: a click on [data-...] or a finished stroke.
FORWARD_CLICKS = """
element.addEventListener('click', (event) => {
  const item = event.target.closest('[data-sample],[data-class]');
  if (item && item.dataset.sample) trigger('pick', {name: item.dataset.sample});
  if (item && item.dataset.class) trigger('choose', {name: item.dataset.class});
});"""
FORWARD_FETCH = "element.addEventListener('click', (event) => { if (event.target.closest('[data-fetch]')) trigger('fetch', {}); });"

# What the page is told, an address to show or a technique to run, is told by an element that takes another's place.
LISTEN = """
new MutationObserver(() => {
  const told = element.querySelector('[data-turn]');
  if (told) window.loupe.told(told.dataset);
}).observe(element, {childList: true, subtree: true, attributes: true});  // Gradio patches in place"""
# What has to follow many events follows one: each of them puts a new element here, and the page tells of that.
FORWARD_NEWS = """
new MutationObserver(() => {
  const told = element.querySelector('[data-turn]');
  if (!told || told.dataset.turn === element.turn) return;
  element.turn = told.dataset.turn;
  window.loupe.told(told.dataset);
  trigger('news', {...told.dataset});
}).observe(element, {childList: true, subtree: true, attributes: true});"""
FORWARD_STROKES = "element.addEventListener('painted', (event) => trigger('paint', {png: event.detail}));"


@dataclass(frozen=True)
class Header:
    """The header's components. `changed` hears of every other picture or model, `ran` of every run that is done."""

    session: gr.State
    picture: PictureInput
    origin: gr.HTML
    samples: gr.HTML
    sketch_box: gr.Column
    sketch: gr.HTML
    framing: gr.Radio
    seen: gr.HTML
    search: ModelSearch
    own: OwnModel
    model_status: gr.HTML
    stop_loading: gr.Button
    target: gr.Dropdown
    layer: gr.Dropdown
    seed: gr.Number
    top_five: gr.HTML
    notice: gr.HTML
    address: gr.HTML
    changed: gr.HTML
    ran: gr.HTML


def build_header(default_model: str) -> Header:
    """Lay out the header; `ui.page` wires it."""
    gr.HTML(BRAND)
    notice = gr.HTML(elem_id="notice", js_on_load=FORWARD_FETCH)
    address = gr.HTML(elem_id="address", js_on_load=LISTEN)
    changed = gr.HTML(elem_id="changed", js_on_load=FORWARD_NEWS)
    ran = gr.HTML(elem_id="ran", js_on_load=FORWARD_NEWS)
    session = gr.State("", time_to_live=3600)
    with gr.Row(elem_id="bench", equal_height=False):
        with gr.Column(scale=4, min_width=280, elem_classes="lp-card"):
            gr.HTML("<h3>Picture</h3>")
            picture = PictureInput(
                sources=["upload", "webcam", "clipboard"],
                format="png",
                show_label=False,
                height=220,
                elem_id="picture",
                buttons=["download", "fullscreen"],
                placeholder="Drop a picture here\nor click to choose one",
            )
            origin = gr.HTML(elem_id="origin")
            with gr.Row(elem_id="framing-row"):
                seen = gr.HTML(elem_id="seen")
                framing = gr.Radio(
                    [("Model's own", "model"), ("Crop", "crop"), ("Squash", "squash"), ("Pad", "pad")],
                    value="model",
                    label="Fitted by",
                    min_width=140,
                    elem_id="framing",
                )
        with gr.Column(scale=4, min_width=280, elem_classes="lp-card"):
            gr.HTML("<h3>Model</h3>")
            search = build_search(default_model)
            model_status = gr.HTML(elem_id="model-status")
            stop_loading = gr.Button("Stop", size="sm", visible=False, elem_id="stop-loading")
            target = gr.Dropdown(
                [("The predicted class", "")],
                value="",
                allow_custom_value=True,
                label="Class",
                info="To explain; for an attack, to aim at",
                elem_id="target",
            )
            with gr.Row():
                layer = gr.Dropdown(
                    [("The model's choice", "")], value="", allow_custom_value=True, label="Layer", min_width=160, scale=3, elem_id="layer"
                )
                seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, min_width=80, scale=1, elem_id="seed")
            own = build_own_model()
        with gr.Column(scale=4, min_width=280, elem_classes="lp-card"):
            gr.HTML("<h3>What the model says</h3>")
            top_five = gr.HTML("<p class='lp-hint'>Starting PyTorch …</p>", elem_id="top-five", js_on_load=FORWARD_CLICKS)
            with gr.Column(visible=False, elem_id="sketch-box") as sketch_box:
                gr.HTML("<h3>Draw a digit</h3>")
                pad = "<loupe-paint mode='ink' width='280' height='280'></loupe-paint>"
                sketch = gr.HTML(pad, elem_id="sketch", js_on_load=FORWARD_STROKES)
    samples = gr.HTML(sample_strip(3), elem_id="samples", js_on_load=FORWARD_CLICKS)
    return Header(
        session, picture, origin, samples, sketch_box, sketch, framing, seen, search, own, model_status, stop_loading, target, layer, seed, top_five,
        notice, address, changed, ran,
    )  # fmt: skip


def sample_strip(channels: int) -> str:
    """The sample pictures that fit a model with so many input channels, as a row of buttons."""
    pictures = digits() if channels == 1 else photographs()
    buttons = "".join(
        f"<button type='button' data-sample='{escape(sample.name)}' title='{escape(sample.title)} ({escape(sample.credit)})'>"
        f"<img src='{_thumbnail(sample)}' alt='{escape(sample.title)}'></button>"
        for sample in pictures
    )
    return f"<div class='lp-strip'>{buttons}</div>"


def _thumbnail(sample: SamplePicture) -> str:
    import io

    from PIL import Image, ImageOps

    with Image.open(sample.path) as image:
        small = ImageOps.fit(image.convert("RGB"), (72, 72))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
