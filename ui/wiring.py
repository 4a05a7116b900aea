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
from ui.choosing import GONE, choose_sample, seen, shown, wire_choosing
from ui.events import COMPUTE, LIGHT
from ui.header import Header
from ui.model_loading import wire_model
from ui.painting import canvas, wire_painting
from ui.pairing import pair_values
from ui.panels import top_five
from ui.sending import Trail, trail_line, wire_sending
from ui.session import Session, Sessions
from ui.settings import Settings
from ui.technique_tab import TechniqueTab
from ui.tray import wire_tray
from ui.trusting import wire_trust
from ui.walking import told_after, wire_walks

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
    trail: Trail
    walk: gr.HTML
    bell: gr.HTML

    @property
    def comparing(self) -> list[TechniqueTab]:
        """The tabs whose technique can be run on a pair."""
        return [tab for tab in self.tabs if tab.pair]

    def tab(self, technique: str | None) -> TechniqueTab | None:
        """The tab of the technique of this name."""
        return next((tab for tab in self.tabs if tab.technique.name == technique), None)

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
    look = _look(page)
    look_outputs = [header.top_five, header.seen, *(tab.paint for tab in page.painted)]
    look_outputs += [*(part for tab in page.comparing for part in tab.pair.outputs), header.address, page.trail.line]

    def start(request: gr.Request) -> list:
        session = page.sessions.create(request.session_hash)
        choose_sample(session, channels=3)
        begin(page, session, request.query_params.multi_items())
        return [session.id, *shown(session), *open_view(page, session.view)]

    starting = demo.load(start, None, [header.session, header.picture, header.origin, *opened(page)], show_progress_on=header.address, **LIGHT)
    loaded = wire_model(page, [starting, wire_walks(page)])
    looks = [event.then(look, header.session, look_outputs, show_progress_on=header.top_five, **COMPUTE) for event in loaded]
    for event in wire_choosing(header, page.sessions):
        looks.append(event.success(look, header.session, look_outputs, trigger_mode="always_last", show_progress_on=header.top_five, **COMPUTE))
    for event in looks:
        event.then(partial(arrive, page), header.session, arrived(page), show_progress_on=header.address, **LIGHT)
    framed = header.framing.input(_frame(page), [header.session, header.framing], None, **LIGHT).success(
        look, header.session, look_outputs, trigger_mode="always_last", show_progress_on=header.top_five, **COMPUTE
    )
    header.top_five.choose(_chosen_class, None, header.target, trigger_mode="multiple", **LIGHT)
    for tab in page.tabs:
        _wire_run(page, tab)
        tab.stop.click(partial(_stop, page, tab.technique.name), header.session, None, **LIGHT)
        if tab.tray:
            predict = wire_tray(tab.tray, header, page.sessions, page.settings)
            for after in (*(event.then for event in looks[: len(loaded)]), framed.then, tab.place.select):
                after(predict, header.session, tab.tray.gallery, show_progress_on=tab.tray.status, **COMPUTE)

    wire_sending(page, loaded, look, look_outputs)
    wire_trust(page)

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
        untouched = [gr.skip()] * (3 + len(page.painted) + 2 * len(page.comparing))
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
        boxes = pair_values(session, session.current_pair, Predictions.of(model, logits[1:])) * len(page.comparing)
        told = [current_address(page, session), trail_line(page, session)]
        return [top_five(Predictions.of(model, logits)), seen(sample, model), *canvases, *boxes, *told]

    return look


def _tell(page: Page, tab: TechniqueTab, session_id: str) -> list:
    """After a run: the address, and what is to be seen in it where it is a step of a walk."""
    session = page.session(session_id)
    return [tell(session, tab.technique), told_after(session, tab.technique.name)]


def _wire_run(page: Page, tab: TechniqueTab) -> None:
    """Run, and what else starts the technique, a stroke where one paints; the address says what was run last."""
    header = page.header
    inputs = [header.session, header.target, header.layer, header.seed, *tab.inputs]
    options = {"show_progress_on": tab.status, **COMPUTE}
    tab.run.click(None, None, tab.status, js=f"() => `{WAITING}`", **LIGHT)  # in the browser, at once; others may come first
    runs = [tab.run.click(tab.handler, inputs, tab.outputs, **options)]
    if tab.paint:
        for painted in wire_painting(tab.paint, tab.technique.name, tab.control("region"), header, page.sessions):
            runs.append(painted.success(tab.handler, inputs, tab.outputs, trigger_mode="always_last", **options))
    for ran in runs:
        ran.success(partial(_tell, page, tab), header.session, [header.address, page.walk], show_progress_on=header.address, **LIGHT)
