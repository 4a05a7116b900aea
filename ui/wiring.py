"""What connects the parts of the page: the start, the model, the predictions, Run and Stop, and sending pictures on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape

import gradio as gr

import model_zoo
from model_zoo.deferred import torch
from model_zoo.errors import AppError
from techniques.base import Predictions
from ui.arriving import arrive, arrived, begin, current_address, open_view, opened, tell
from ui.browsing import walk_handler
from ui.choosing import GONE, choose_sample, seen, shown, wire_choosing
from ui.events import COMPUTE, LIGHT, told
from ui.films import film_file
from ui.header import Header
from ui.model_loading import wire_model
from ui.painting import canvas, wire_painting
from ui.pairing import pair_values
from ui.panels import top_five
from ui.running import save_handler
from ui.sending import Trail, trail_line, wire_sending
from ui.session import Session, Sessions
from ui.settings import Settings
from ui.technique_tab import TechniqueTab
from ui.tray import Tray, tray_items, wire_tray
from ui.trusting import wire_trust
from ui.walking import told_after, wire_walks


@dataclass(frozen=True)
class Page:
    """Everything that can be wired: the header, the tabs with their groups by family, and the sessions."""

    header: Header
    tabs: tuple[TechniqueTab, ...]
    families: gr.Tabs
    groups: dict[str, gr.Tabs]
    sessions: Sessions
    settings: Settings
    trail: Trail
    tray: Tray
    walk: gr.HTML
    file: gr.DownloadButton
    bell: gr.HTML

    def tab(self, technique: str | None) -> TechniqueTab | None:
        """The tab of the technique of this name."""
        return next((tab for tab in self.tabs if tab.technique.name == technique), None)

    @property
    def painted(self) -> list[TechniqueTab]:
        return [tab for tab in self.tabs if tab.paint]

    def session(self, session_id: str) -> Session:
        """The visitor's session; a sentence when it has ended."""
        session = self.sessions.find(session_id)
        if session is None:
            raise gr.Error(GONE, print_exception=False)
        return session

    def stop(self, work: str, session_id: str) -> None:
        """End what the visitor has running under this name; a handler once `work` is given."""
        self.session(session_id).stop(work)


def wire(demo: gr.Blocks, page: Page) -> None:
    """Connect all parts. A new page starts with a sample, the model, its predictions and the first technique's answer."""
    header = page.header

    def start(request: gr.Request) -> list:
        session = page.sessions.create(request.session_hash)
        choose_sample(session, channels=3)
        begin(page, session, request.query_params.multi_items())
        return [session.id, *shown(session), *open_view(page, session.view)]

    def leave(request: gr.Request) -> None:
        page.sessions.leave(request.session_hash)

    starting = demo.load(start, None, [header.session, header.picture, header.origin, *opened(page)], show_progress_on=header.address, **LIGHT)
    wire_model(page, [starting, wire_walks(page)])
    wire_choosing(header, page.sessions)
    header.framing.input(_frame(page), [header.session, header.framing], [header.changed, page.tray.gallery], **LIGHT)
    look_outputs = [header.top_five, header.seen, *(tab.paint for tab in page.painted), *page.trail.pair.outputs, header.address, page.trail.line]
    looked = header.changed.news(
        _look(page), header.session, look_outputs, trigger_mode="always_last", show_progress_on=header.top_five, **COMPUTE
    )
    looked.then(partial(arrive, page), header.session, arrived(page), show_progress_on=header.address, **LIGHT)
    header.top_five.choose(_chosen_class, None, header.target, trigger_mode="multiple", **LIGHT)
    for tab in page.tabs:
        _wire_run(page, tab)
    header.ran.news(_tell(page), header.session, [header.address, page.walk], show_progress_on=header.address, trigger_mode="multiple", **LIGHT)
    _wire_bell(page)
    wire_sending(page)
    wire_tray(page.tray, header, page.sessions, page.settings)
    wire_trust(page)
    demo.unload(leave)


def _frame(page: Page) -> Callable[[str, str], list]:
    """The handler that remembers how pictures are to be made as large as the model wants them."""

    def frame(session_id: str, framing: str) -> list:
        session = page.session(session_id)
        session.framing = str(framing)
        return [told(), tray_items(session)]

    return frame


def _chosen_class(event: gr.EventData) -> str:
    return str(event._data.get("name", ""))


def _look(page: Page) -> Callable:
    """The handler that shows what the model sees of the current picture and its top five, and puts it under the brushes."""

    def look(session_id: str) -> list:
        session = page.session(session_id)
        untouched = [gr.skip()] * (5 + len(page.painted))
        if session.picture is None:
            return ["<p class='lp-hint'>Choose a picture.</p>", *untouched]
        try:
            model = model_zoo.load(session.model_key)
            sample = session.sample(model)
            with model.lock:
                pixels = torch.cat([sample.pixels, *(other.pixels for other in session.both(model))])
                logits = model.valid_logits(pixels.to(model.device)).cpu().numpy()
        except AppError as error:
            return [f"<p class='lp-error'>{escape(str(error))}</p>", *untouched]
        session.paint_on(sample)
        canvases = [canvas(sample, model, marks=tab.control("region") is not None) for tab in page.painted]
        pair = pair_values(session, session.current_pair, Predictions.of(model, logits[1:]))
        return [
            top_five(Predictions.of(model, logits)), seen(sample, model), *canvases, *pair, current_address(page, session), trail_line(page, session),
        ]  # fmt: skip

    return look


def _tell(page: Page) -> Callable[[str, gr.EventData], list]:
    """The handler after every run: the address, and what is to be seen in it where it is a step of a walk."""

    def tell_of_run(session_id: str, event: gr.EventData) -> list:
        session, tab = page.session(session_id), page.tab(event._data.get("ran"))
        return [tell(session, tab.technique), told_after(session, tab.technique.name)] if tab else [gr.skip()] * 2

    return tell_of_run


def _wire_run(page: Page, tab: TechniqueTab) -> None:
    """Run, and what else starts the technique: a stroke where one paints."""
    header = page.header
    inputs = [header.session, header.target, header.layer, header.seed, page.trail.pair.switch, *tab.controls]
    outputs, options = [*tab.outputs, header.ran], {"show_progress_on": header.ran, **COMPUTE}
    tab.run.click(tab.handler, inputs, outputs, **options)
    if tab.paint:
        for painted in wire_painting(tab.paint, tab.technique.name, tab.control("region"), header, page.sessions):
            painted.success(tab.handler, inputs, outputs, trigger_mode="always_last", **options)


def _wire_bell(page: Page) -> None:
    """Stop and Download of all techniques, the films of all replays and the moves through all browsers."""
    session, bell = page.header.session, page.bell
    places = {html.elem_id: (tab.technique.name, panel) for tab in page.tabs for panel, html in tab.panels.items()}

    def stop(session_id: str, event: gr.EventData) -> None:
        page.stop(str(event._data.get("work")), session_id)

    def film(session_id: str, event: gr.EventData) -> str:
        return film_file(page.sessions.find(session_id), places, event._data)

    bell.stop(stop, session, None, trigger_mode="multiple", **LIGHT)
    bell.walk(walk_handler(places, page.sessions), session, bell, trigger_mode="multiple", **LIGHT)
    for made in (bell.save(save_handler(page.sessions), session, page.file, **LIGHT), bell.film(film, session, page.file, **LIGHT)):
        # gradio's own button hands out the file of the press before: it is pressed here once its file is there
        made.success(None, js="() => requestAnimationFrame(() => document.getElementById('file').click())", **LIGHT)
