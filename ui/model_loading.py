"""The page's model: loaded with progress and Stop, shown with what it says about itself, kept when another one fails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

import model_zoo
from model_zoo import catalogue
from model_zoo.loaded import LoadedModel
from ui.arriving import place_pictures, wanted_model
from ui.choosing import choose_sample, shown
from ui.events import LIGHT, LOADING, told
from ui.header import sample_strip
from ui.model_search import answers, count, wire_search
from ui.own_model import wire_own_model
from ui.panels import progress
from ui.sending import send_choices
from ui.session import Session
from ui.tray import tray_items
from ui.worker import Done, Failed, Stopped, in_worker, until

if TYPE_CHECKING:
    from ui.wiring import Page

SECONDS = 1800  # the longest that a download may take; one that sends nothing is given up much earlier
WORK = "model"  # the name by which loading a model is stopped; no technique has it


def wire_model(page: Page, openings: list) -> None:
    """Connect the list of models and a visitor's own one, and load the model of a view after each of `openings`."""
    header = page.header
    outputs = [
        header.search.text, header.model_status, header.stop_loading, header.target, header.layer, header.samples, header.sketch_box,
        header.picture, header.origin, *(tab.notice for tab in page.tabs), *(tab.run for tab in page.tabs),
        page.tray.gallery, page.trail.choices, header.search.answers, header.changed,
    ]  # fmt: skip

    def load(session_id: str, key: str) -> Iterator[list]:
        yield from _load(page, session_id, key)

    def of_view(session_id: str) -> Iterator[list]:
        session = page.session(session_id)
        key = wanted_model(session, page.settings.model)
        yield from _load(page, session_id, key)
        if session.model_key != key:  # it could not be had, and on a new page nothing is shown yet
            yield from _load(page, session_id, session.model_key)

    def fetch(session_id: str) -> Iterator[list]:
        view = page.session(session_id).view
        if view and view.offered:
            yield from _load(page, session_id, view.offered[0])

    def by_hand(session_id: str, key: str) -> Iterator[list]:
        session = page.session(session_id)
        if session.view and not (session.view.offered and session.view.offered[0] == key):
            session.view = None  # the visitor goes another way than the address
        yield from _load(page, session_id, key)

    def typed(session_id: str, text: str) -> Iterator[list]:
        yield from by_hand(session_id, _meant(text))

    def picked(session_id: str, event: gr.EventData) -> Iterator[list]:
        yield from by_hand(session_id, str(event._data.get("name")))

    options = {"show_progress_on": header.model_status, **LOADING}
    wire_own_model(page, load, outputs)
    header.search.text.blur(lambda session_id: page.session(session_id).model_name, header.session, header.search.text, **LIGHT)
    header.stop_loading.click(partial(page.stop, WORK), header.session, None, **LIGHT)
    for opening in openings:
        opening.success(of_view, header.session, outputs, **options)
    header.notice.fetch(fetch, header.session, outputs, **options)
    header.search.text.submit(typed, [header.session, header.search.text], outputs, trigger_mode="always_last", **options)
    header.search.answers.pick(picked, header.session, outputs, trigger_mode="multiple", **options)
    wire_search(header.search)


def _meant(text: str) -> str:
    """The key that somebody means who presses Enter: what was typed when it is a key, else the first answer to it."""
    text = str(text).strip()
    found = catalogue.search(text, 1)
    return text if "/" in text and not text.startswith("http") or not found else found[0].key


def _load(page: Page, session_id: str, key: str) -> Iterator[list]:
    """Load a model and show it; whatever goes wrong, the one before stays."""
    session = page.session(session_id)

    def stays(status: str) -> list:
        return [session.model_name, status, gr.Button(visible=False), *untouched, answers(""), told()]

    untouched = [gr.skip()] * (8 + 2 * len(page.tabs))
    loading = in_worker(lambda run: model_zoo.load(str(key).strip(), run), SECONDS)
    for event in until(session.begin(WORK), loading):
        if isinstance(event, Done):
            session.use(event.value)
            choose_sample(session, event.value.preprocessing.channels)
            place_pictures(page, session)
            yield _shown(page, event.value, session)
        elif isinstance(event, Failed):
            gr.Warning(escape(event.text), title="The model stays as it was", duration=12)
            yield stays(f"<p class='lp-error'>{escape(event.text)}</p>")
        elif isinstance(event, Stopped):
            yield stays("<p class='lp-hint'>Stopped; the model stays as it was.</p>")
        else:
            yield [gr.skip(), progress(event.fraction, event.text or "Loading …"), gr.Button(visible=True), *untouched, gr.skip(), gr.skip()]


def _shown(page: Page, model: LoadedModel, session: Session) -> list:
    """The header and the tabs for a model that has just been loaded, in the order of the model's outputs."""
    layers = [("The model's choice" + (f": {model.default_layer}" if model.default_layer else ""), "")]
    for layer in model.spatial_layers():
        order = "" if layer.local else " · in another order"
        layers.append((f"{layer.name} · {layer.grid[0]}×{layer.grid[1]}{order}", layer.name))
    channels = model.preprocessing.channels
    reasons = [tab.technique.why_not(model) for tab in page.tabs]
    return [
        session.model_name,
        _facts(model),
        gr.Button(visible=False),
        gr.Dropdown(choices=[("The predicted class", ""), *((label, label) for label in model.labels)], value=""),
        gr.Dropdown(choices=layers, value=""),
        sample_strip(channels),
        gr.Column(visible=channels == 1),
        *shown(session),
        *(f"<p class='lp-error'>Not for this model: {escape(reason)}</p>" if reason else "" for reason in reasons),
        *(gr.Button(interactive=not reason) for reason in reasons),
        tray_items(session),
        send_choices([(tab.technique, reason) for tab, reason in zip(page.tabs, reasons)]),
        answers(""),
        told(),
    ]


def _facts(model: LoadedModel) -> str:
    """The model in a line; below it, to be opened, what it says about itself and how that was found out."""
    height, width = model.preprocessing.size
    parameters = sum(p.numel() for p in model.network.parameters())
    kind = f"{model.named:,} labels, each yes or no" if model.multi_label else f"{model.classes:,} classes"
    line = [f"{count(parameters)} parameters", f"{height} × {width} px", kind, *model.notes]
    spans = "".join(f"<span>{escape(fact)}</span>" for fact in line)
    rows = "".join(
        f"<dt>{escape(fact.name)}</dt><dd><b>{escape(fact.value)}</b> <span>{escape(fact.reason)}</span></dd>" for fact in model.facts
    )
    return f"<p class='lp-facts'>{spans}</p><details class='lp-limits lp-self'><summary>What it says about itself</summary><dl>{rows}</dl></details>"
