"""What connects the parts of the page: the start, the model, the predictions, Run and Stop, and sending pictures on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape

import gradio as gr

import model_zoo
from model_zoo.errors import AppError
from techniques.base import Predictions, Sample
from techniques.base.results import panels
from ui.choosing import GONE, choose_sample, seen, shown, wire_choosing
from ui.events import COMPUTE, LIGHT
from ui.header import Header
from ui.model_loading import wire_model
from ui.painting import canvas, wire_painting
from ui.panels import top_five
from ui.session import Session, Sessions
from ui.settings import Settings
from ui.technique_tab import TechniqueTab
from ui.tray import tray_items, wire_tray

WAITING = "<p class='lp-hint lp-busy'>Waiting for its turn …</p>"


@dataclass(frozen=True)
class Page:
    """Everything that can be wired: the header, the tabs with their groups by family, and the sessions."""

    header: Header
    tabs: tuple[TechniqueTab, ...]
    families: gr.Tabs
    groups: dict[str, gr.Tabs]
    sessions: Sessions
    settings: Settings

    @property
    def painted(self) -> list[TechniqueTab]:
        return [tab for tab in self.tabs if tab.paint]

    @property
    def trays(self) -> list[TechniqueTab]:
        return [tab for tab in self.tabs if tab.tray]

    def session(self, session_id: str) -> Session:
        """The visitor's session; a sentence when it has ended."""
        session = self.sessions.find(session_id)
        if session is None:
            raise gr.Error(GONE, print_exception=False)
        return session


def wire(demo: gr.Blocks, page: Page) -> None:
    """Connect all parts. A new page starts with a sample, the model, its predictions and the first technique's answer."""
    header = page.header
    look, look_outputs = _look(page), [header.top_five, header.seen, *(tab.paint for tab in page.painted)]

    def start(request: gr.Request) -> list:
        session = page.sessions.create(request.session_hash)
        choose_sample(session, channels=3)
        return [session.id, *shown(session)]

    starting = demo.load(start, None, [header.session, header.picture, header.origin], **LIGHT)
    loaded = wire_model(page, starting)
    first_look = None
    for event in loaded:
        seen = event.then(look, header.session, look_outputs, show_progress_on=header.top_five, **COMPUTE)
        first_look = first_look or seen
    for event in wire_choosing(header, page.sessions):
        event.success(look, header.session, look_outputs, trigger_mode="always_last", show_progress_on=header.top_five, **COMPUTE)
    header.framing.input(_frame(page), [header.session, header.framing], None, **LIGHT).success(
        look, header.session, look_outputs, trigger_mode="always_last", show_progress_on=header.top_five, **COMPUTE
    )
    header.top_five.choose(_chosen_class, None, header.target, trigger_mode="multiple", **LIGHT)
    for tab in page.tabs:
        _wire_run(page, tab, first_look if tab is page.tabs[0] else None)
        tab.stop.click(partial(_stop, page, tab.technique.name), header.session, None, **LIGHT)
        _wire_send(page, tab, look, look_outputs)
        if tab.tray:
            wire_tray(tab.tray, header, page.sessions)

    def leave(request: gr.Request) -> None:
        page.sessions.leave(request.session_hash)

    demo.unload(leave)


def _stop(page: Page, work: str, session_id: str) -> None:
    page.session(session_id).stop(work)


def _frame(page: Page) -> Callable[[str, str], None]:
    """The handler that remembers how pictures are to be made as large as the model wants them."""

    def frame(session_id: str, framing: str) -> None:
        page.session(session_id).framing = str(framing)

    return frame


def _chosen_class(event: gr.EventData) -> str:
    return str(event._data.get("name", ""))


def _look(page: Page) -> Callable:
    """The handler that shows what the model sees of the current picture and its top five, and puts it under the brushes."""

    def look(session_id: str) -> list:
        session = page.session(session_id)
        session.masks.clear()
        untouched = [gr.skip()] * (1 + len(page.painted))
        if session.picture is None:
            return ["<p class='lp-hint'>Choose a picture.</p>", *untouched]
        try:
            model = model_zoo.load(session.model_key)
            sample = session.sample(model)
            with model.lock:
                logits = model.valid_logits(sample.pixels.to(model.device)).cpu().numpy()
        except AppError as error:
            return [f"<p class='lp-error'>{escape(str(error))}</p>", *untouched]
        return [top_five(Predictions.of(model, logits)), seen(sample, model), *(canvas(sample) for _ in page.painted)]

    return look


def _wire_run(page: Page, tab: TechniqueTab, also_after) -> None:
    """Run, and what else starts the technique: the first look for the first tab, a stroke where one paints."""
    header = page.header
    inputs = [header.session, header.target, header.layer, header.seed, *tab.controls]
    options = {"show_progress_on": tab.status, **COMPUTE}
    tab.run.click(None, None, tab.status, js=f"() => `{WAITING}`", **LIGHT)  # in the browser, at once; others may come first
    tab.run.click(tab.handler, inputs, tab.outputs, **options)
    if also_after is not None:
        also_after.then(tab.handler, inputs, tab.outputs, **options)
    if tab.paint:
        painted = wire_painting(tab.paint, tab.technique.name, header, page.sessions)
        painted.success(tab.handler, inputs, tab.outputs, trigger_mode="always_last", **options)


def _wire_send(page: Page, tab: TechniqueTab, look: Callable, look_outputs: list) -> None:
    """Under each picture: make it the current picture, or with its original a pair, and go to a technique."""
    header, by_name = page.header, {other.technique.name: other.technique for other in page.tabs}
    outputs = [header.picture, header.origin, page.families, *page.groups.values(), *(other.tray.gallery for other in page.trays)]

    def send(session_id: str, event: gr.EventData) -> list:
        session = page.session(session_id)
        answered, destination = session.answers.get(tab.technique.name), by_name.get(event._data.get("technique"))
        result = panels(answered.answer).get(event._data.get("panel")) if answered else None
        if result is None or destination is None:
            raise gr.Error("This picture is no longer kept. Please run the technique again.", print_exception=False)
        sent = Sample.from_pixels(result.values, result.label or f"{tab.technique.title}: {event._data['panel']}")
        if destination.many:
            session.pictures = [answered.sample, sent]
        else:
            session.picture = sent
        selected = [gr.Tabs(selected=destination.name) if family == destination.family else gr.skip() for family in page.groups]
        return [*shown(session), gr.Tabs(selected=destination.family), *selected, *([tray_items(session)] * len(page.trays))]

    for html in tab.panels.values():
        sent = html.send(send, header.session, outputs, show_progress_on=header.origin, **LIGHT)
        sent.success(look, header.session, look_outputs, show_progress_on=header.top_five, **COMPUTE)
