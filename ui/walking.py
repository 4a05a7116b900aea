"""The panel of ready-made experiments: choose one, go from step to step; each sets model, pictures and settings, and runs.

The panel stays while a visitor tries something else; Next goes on where the walk was left.
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

import model_zoo
from model_zoo.errors import AppError
from ui.address import View
from ui.arriving import open_view, opened
from ui.events import COMPUTE, LIGHT
from ui.samples import digits, photographs
from ui.walks import Walk, pictures_of, walks

if TYPE_CHECKING:
    from ui.session import Session
    from ui.wiring import Page

FORWARD_STEPS = """
element.addEventListener('click', (event) => {
  const item = event.target.closest('[data-walk]');
  if (item && item.dataset.step) trigger('step', {walk: item.dataset.walk, step: item.dataset.step});
  else if (item) trigger('leave', {});
});"""


def build_walks() -> gr.HTML:
    return gr.HTML(_choice(), elem_id="walk", js_on_load=FORWARD_STEPS)


def wire_walks(page: Page):
    """Connect the panel; returns the event after which the session has a view to show."""

    def step(session_id: str, event: gr.EventData) -> list:
        return _step(page, session_id, str(event._data.get("walk")), str(event._data.get("step")))

    page.walk.leave(partial(_leave, page), page.header.session, page.walk, **LIGHT)
    outputs = [page.walk, *opened(page)]
    return page.walk.step(step, page.header.session, outputs, trigger_mode="multiple", show_progress_on=page.walk, **COMPUTE)


def _leave(page: Page, session_id: str) -> str:
    page.session(session_id).walk = None
    return _choice()


def _step(page: Page, session_id: str, name: str, number: str) -> list:
    """Prepare a step: its view, and the panel with what is going to be done."""
    session = page.session(session_id)
    walk = walks().get(name)
    if walk is None or not number.isdecimal() or int(number) >= len(walk.steps):
        raise gr.Error("There is no such step. Please choose an experiment again.", print_exception=False)
    step = walk.steps[int(number)]
    try:
        pictures = pictures_of(walk, int(number), model_zoo.load(step.model))
    except AppError as error:
        raise gr.Error(escape(str(error)), print_exception=False) from error
    _keep(page, session, step.technique)
    tab = page.tab(step.technique)
    defaults = {param.name: param.default for param in tab.technique.own_params if param.kind != "mask"}
    settings = {(step.technique, name): value for name, value in (defaults | dict(step.settings or {})).items()}
    session.view = View(step.technique, step.model, target=step.target, seed=0, framing="model", settings=settings, brought=tuple(pictures))
    session.framing, session.walk, session.walked = "model", (walk.name, int(number), False), tuple(pictures)
    return [_shown(walk, int(number), told=False), *open_view(page, session.view)]


def _keep(page: Page, session: Session, technique: str) -> None:
    """Pictures of the visitor's own that the step takes the place of can be gone back to."""
    ours = {entry.title for entry in (*digits(), *photographs())}
    known = {id(picture) for picture in session.walked}
    if any(picture.origin not in ours and id(picture) not in known for picture in (session.picture, *session.pictures) if picture):
        session.leave(session.visited or page.tabs[0].technique.name)
        session.at = technique


def told_after(session: Session, technique: str) -> str:
    """The panel with what is to be seen, once the technique of the step has been run."""
    if session.walk is None:
        return gr.skip()
    name, number, told = session.walk
    walk = walks()[name]
    if told or walk.steps[number].technique != technique:
        return gr.skip()
    session.walk = (name, number, True)
    return _shown(walk, number, told=True)


def _choice() -> str:
    """All experiments, as cards to press."""
    cards = "".join(
        f"<button type='button' class='lp-walk' data-walk='{escape(walk.name)}' data-step='0'><b>{escape(walk.title)}</b>"
        f"<span>{escape(walk.introduction)}</span><i>{len(walk.steps)} steps</i></button>"
        for walk in walks().values()
    )
    return f"<details class='lp-walks'><summary>Experiments <span>ready-made walks to begin with</span></summary><div>{cards}</div></details>"


def _shown(walk: Walk, number: int, told: bool) -> str:
    """One step: where one is, what is done, and with `told` what is seen."""
    step, last = walk.steps[number], len(walk.steps) - 1
    after = f"<p class='lp-after'>{escape(step.after)}</p>" if told else "<p class='lp-hint lp-busy'>Running …</p>"
    dots = "".join(_go(walk, place, str(place + 1), "lp-dot-now" if place == number else "") for place in range(last + 1))
    back = _go(walk, number - 1, "Back", disabled=number == 0)
    forward = _go(walk, number + 1, f"Next: {walk.steps[number + 1].title}", "lp-next") if number < last else ""
    leave = f"<button type='button' data-walk='{escape(walk.name)}'>{'Leave' if number < last else 'Done'}</button>"
    return (
        f"<section class='lp-step'><header><h3>{escape(walk.title)}</h3><nav aria-label='Steps'>{dots}</nav></header>"
        f"<h4>{escape(step.title)}</h4><p class='lp-before'>{escape(step.before)}</p>{after}<div class='lp-go'>{back}{forward}{leave}</div></section>"
    )


def _go(walk: Walk, number: int, text: str, kind: str = "", disabled: bool = False) -> str:
    state = " disabled" if disabled else ""
    current = " aria-current='step'" if kind == "lp-dot-now" else ""
    return f"<button type='button' class='{kind}' data-walk='{escape(walk.name)}' data-step='{number}'{state}{current}>{escape(text)}</button>"
