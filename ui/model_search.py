"""One thing to type, one list of answers: every model there is, with what is known about it before it is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

from model_zoo import catalogue, needs_download
from model_zoo.cache import gigabytes
from model_zoo.catalogue import Entry
from model_zoo.errors import ModelLoadError
from model_zoo.sources import CACHE
from ui.events import LIGHT

SHOWN = 40
# A press counts when it begins: by its end, newer answers may have taken the row's place. A click without one is the Enter key's.
FORWARD_PICKS = """
const pick = (event) => {
  const item = event.target.closest('[data-model]');
  if (!item || item.disabled || event.button !== 0 || (event.type === 'click' && event.detail)) return;
  event.preventDefault();
  trigger('pick', {name: item.dataset.model});
  document.activeElement.blur();
};
element.addEventListener('mousedown', pick);
element.addEventListener('click', pick);"""


@dataclass(frozen=True)
class ModelSearch:
    """What one types into, and the answers below, which the page shows while one is at it."""

    text: gr.Textbox
    answers: gr.HTML


def build_search(current: str) -> ModelSearch:
    with gr.Column(elem_id="model-search"):
        text = gr.Textbox(
            current,
            label="Search by name, or type hf-hub:owner/name",
            elem_id="model",
            max_lines=1,
            max_length=300,
            html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False, autocapitalize="none"),
        )
        answers = gr.HTML(elem_id="model-answers", js_on_load=FORWARD_PICKS)
    return ModelSearch(text, answers)


def wire_search(search: ModelSearch) -> None:
    """Answers while one types."""
    search.text.input(answers, search.text, search.answers, trigger_mode="always_last", **LIGHT)


def answers(text: str) -> str:
    """The models that fit what was typed, as rows to click on; nothing that a visitor typed becomes HTML."""
    found = catalogue.search(str(text), SHOWN)
    if not found:
        return "<p class='lp-hint'>No model is called so. Try a family such as ResNet, ViT or ConvNeXt, or hf-hub:owner/name.</p>"
    more = f"<p class='lp-hint'>The first {SHOWN}. Type more to narrow the list.</p>" if len(found) == SHOWN else ""
    return "".join(_row(entry) for entry in found) + more


def _row(entry: Entry) -> str:
    """One model: its title and key, why to look at it, and its figures; greyed out when it is too large for this machine."""
    too_large = f"needs {gigabytes(entry.bytes)} of memory, {gigabytes(CACHE.limit)} are allowed here" if entry.bytes > CACHE.limit else ""
    facts = [
        entry.family,
        f"{count(entry.parameters)} parameters" if entry.parameters else "",
        f"{entry.size[0]} × {entry.size[1]} px" if entry.size[0] else "",
        f"{entry.top1:.1f} % top-1" if entry.top1 else "",
        f"{entry.classes:,} classes" if entry.classes else "",
        entry.licence,
        "" if too_large else _download(entry),
    ]
    spans = "".join(f"<span>{escape(fact)}</span>" for fact in facts if fact)
    about = f"<span class='lp-about'>{escape(entry.about)}</span>" if entry.about else ""
    title, key = (entry.title, entry.key) if entry.title not in entry.key else (entry.key, "")
    no = f"<span class='lp-too-large'>{escape(too_large)}</span>" if too_large else ""
    return (
        f"<button type='button' class='lp-model' data-model='{escape(entry.key)}'{' disabled' if too_large else ''}>"
        f"<b>{escape(title)}</b><code>{escape(key)}</code>{about}<span class='lp-facts'>{spans}{no}</span></button>"
    )


def _download(entry: Entry) -> str:
    """Whether the model is here, and about how much there is to fetch otherwise."""
    if not entry.bytes:
        return "size known once it is chosen"
    try:
        size = needs_download(entry.key)
    except ModelLoadError:
        size = entry.bytes
    return f"{gigabytes(size)} to download" if size else "on this machine"


def count(number: int) -> str:
    """A count in millions or thousands: "25.6 M", "159 k"."""
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"
