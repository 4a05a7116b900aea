"""Under each heat map a closed section that says how far it can be trusted: its readings, measured when somebody asks for them.

What is measured is the answer that is shown: its technique with its settings, its picture, its model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from techniques.base import Sample
from techniques.base.maps import has_map
from techniques.base.results import panels
from ui.bell import ring
from ui.events import COMPUTE
from ui.panels import panel, progress
from ui.session import Answered
from ui.worker import OWN, Done, Failed, Preview, Progress, Stopped, dispatch, until

if TYPE_CHECKING:
    from techniques.base import Technique
    from ui.wiring import Page

METHOD = "trust"  # the technique that measures
WORK = "trust of "  # and what it measures: the name by which it is stopped


@dataclass(frozen=True)
class TrustBox:
    """The section under one technique's panels: a line with the button, then progress; and below it what was found."""

    line: gr.HTML
    found: gr.HTML


def build_trust_box(technique: Technique) -> TrustBox | None:
    """The section, closed; None for a technique without a map."""
    if not has_map(technique):
        return None
    with gr.Accordion("How far can this map be trusted?", open=False, elem_id=f"{technique.name}-trust", elem_classes="lp-trust"):
        line = gr.HTML(_invitation(technique.name), elem_id=f"{technique.name}-trust-line")
        return TrustBox(line, gr.HTML("", elem_id=f"{technique.name}-trust-found", elem_classes="lp-trust-found"))


def wire_trust(page: Page) -> None:
    """Connect all sections."""
    boxes = {tab.technique.name: tab.trust for tab in page.tabs if tab.trust}
    outputs = [part for box in boxes.values() for part in (box.line, box.found)]
    page.bell.measure(_measure(page, boxes), page.header.session, outputs, trigger_mode="multiple", show_progress_on=page.bell, **COMPUTE)


def _measure(page: Page, boxes: dict[str, TrustBox]) -> Callable[..., Iterator[dict]]:
    """The handler behind every Measure: progress into the line, what is known so far below it."""

    def measure(session_id: str, event: gr.EventData) -> Iterator[dict]:
        name = str(event._data.get("technique"))
        session, box = page.session(session_id), boxes.get(name)
        if box is None:
            return
        answered = session.answers.get(name)
        if answered is None or answered.opened or not isinstance(answered.sample, Sample):
            yield {box.line: _invitation(name, "Run it on one picture first: what is measured is the map that is shown.")}
            return
        if answered.unfinished:
            yield {box.line: _invitation(name, "Its run was stopped. Run it to its end first: what is measured is a finished map.")}
            return
        stop = session.begin(WORK + name)
        yield {box.line: _running(name, 0.0, "Starting"), box.found: ""}
        events = dispatch(METHOD, answered.sample, answered.model_key, _settings(page, name, answered), page.settings.seconds)
        for happened in until(stop, events):
            if isinstance(happened, Progress):
                yield {box.line: _running(name, happened.fraction, happened.text)}
            elif isinstance(happened, Preview):
                yield {box.found: _found(happened.value, answered)}
            elif isinstance(happened, Done):
                yield {box.line: _invitation(name), box.found: _found(happened.value, answered)}
            elif isinstance(happened, Failed):
                yield {box.line: _invitation(name, happened.text, "lp-error")}
            elif isinstance(happened, Stopped):
                yield {box.line: _invitation(name, "Stopped. What is shown is as far as it came.")}

    return measure


def _settings(page: Page, name: str, answered: Answered) -> dict:
    """The settings of the one that measures, from those of the answer that is measured."""
    technique, measuring = page.tab(name).technique, page.tab(METHOD).technique
    shared = {param.kind: answered.settings.get(param.name) for param in technique.params if param not in technique.own_params}
    own = {param.name: answered.settings[param.name] for param in technique.own_params if param.name in answered.settings}
    given = {param.name: shared[param.kind] for param in measuring.params if param.kind in shared}
    return {**given, "method": name, OWN: own}


def _invitation(name: str, said: str = "", kind: str = "lp-hint") -> str:
    told = f"<p class='{kind}'>{escape(said)}</p>" if said else ""
    return (
        "<p class='lp-hint'>Whether it changes when the weights are scrambled, whether what it marks decides, whether it is steady.</p>"
        f"{ring('measure', 'Measure', technique=name)}{told}"
    )


def _running(name: str, fraction: float, text: str) -> str:
    return progress(fraction, text) + ring("stop", "Stop", work=WORK + name)


def _found(answer, answered: Answered) -> str:
    """All panels of what was measured, with the picture and the model that it was measured on."""
    shown = "".join(panel(name.replace("_", " ").capitalize(), result, answered.sample) for name, result in panels(answer).items())
    of = f"{answered.sample.origin} · {answered.model_title}"
    old = "<p class='lp-hint lp-old'>Of an earlier answer. Measure again.</p>"
    return f"{old}<p class='lp-done'>{escape(of)}</p><div class='lp-readings'>{shown}</div>"
