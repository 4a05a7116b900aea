"""One technique's page: what it means, its settings, Run and Stop, and a place for each of its panels."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape

import gradio as gr

from techniques.base import Technique
from ui.controls import control
from ui.header import Header
from ui.opening import build_opening, wire_opening
from ui.painting import build_canvas
from ui.running import fill_panels, run_handler, stop_button
from ui.session import Answered, Sessions
from ui.settings import Settings
from ui.tray import TRAY_PLACE
from ui.trusting import TrustBox, build_trust_box

SITES = {"arXiv": "https://arxiv.org/abs/", "doi": "https://doi.org/"}


@dataclass(frozen=True)
class TechniqueTab:
    """The components of one technique, and what runs it. `handler` takes the header's values and `controls`, and yields what
    `outputs` show and then what the page is to be told; `fill` gives the values of `outputs` for an answer that there was before."""

    technique: Technique
    notice: gr.HTML
    controls: list
    paint: gr.HTML | None
    run: gr.Button
    stop: gr.HTML
    status: gr.HTML
    download: gr.HTML
    panels: dict[str, gr.HTML]
    trust: TrustBox | None
    handler: Callable
    fill: Callable[[Answered], list]

    def control(self, name: str) -> gr.components.Component | None:
        """The control of one setting, where the technique has one of this name."""
        return next((control for control in self.controls if control.elem_id == f"{self.technique.name}-{name}"), None)

    @property
    def outputs(self) -> list:
        """What a run changes, in the order of the handler's answer."""
        return [self.status, self.run, self.stop, self.download, *self.panels.values()]


def build_tab(technique: Technique, header: Header, sessions: Sessions, settings: Settings) -> TechniqueTab:
    """Lay out one technique."""
    name = technique.name
    settable = [param for param in technique.own_params if param.kind != "mask"]
    with gr.Tab(technique.title, id=name, elem_id=f"tab-{name}"):
        gr.HTML(f"<div class='lp-intro'><h2>{escape(technique.title)}</h2><p>{escape(technique.meaning)}</p></div>")
        notice = gr.HTML(elem_id=f"{name}-notice")
        if technique.many:
            gr.HTML(TRAY_PLACE)
        with gr.Row(equal_height=False, elem_classes="lp-technique"):
            with gr.Column(scale=0, min_width=300, elem_classes="lp-card lp-settings"):
                paint = build_canvas(name) if len(settable) < len(technique.own_params) else None
                controls = [control(param, name) for param in settable]
                with gr.Row(elem_classes="lp-run"):
                    run = gr.Button("Run", variant="primary", elem_id=f"{name}-run", min_width=90)
                    stop = gr.HTML(stop_button(technique))
                status = gr.HTML(elem_id=f"{name}-status", elem_classes="lp-status")
                download = gr.HTML()
                saved_file = build_opening(technique) if technique.saved else None
                gr.HTML(_small_print(technique))
            with gr.Column(scale=1, min_width=300):
                panels = _panel_places(technique)
                trust = build_trust_box(technique)
    fill = partial(fill_panels, technique, list(panels))
    handler = run_handler(technique, [param.name for param in settable], sessions, settings, fill)
    tab = TechniqueTab(technique, notice, controls, paint, run, stop, status, download, panels, trust, handler, fill)
    if saved_file:
        wire_opening(saved_file, tab, header.session, sessions, settings)
    return tab


def _small_print(technique: Technique) -> str:
    """What the picture does not say, what it is made from, and its source."""
    words = {"target": "class", "layer": "layer", "seed": "seed"}
    shared = [words[param.kind] for param in technique.params if param.kind in words]
    uses = ", ".join(["the pictures above" if technique.many else "picture", "model", *shared])
    assumes = f"<p class='lp-uses'><b>What it assumes.</b> {escape(technique.assumes)}</p>" if technique.assumes else ""
    return (
        f"<details class='lp-limits' open><summary>What this does not tell you</summary><p>{escape(technique.limits)}</p></details>{assumes}"
        f"<p class='lp-uses'>Reads from the top of the page: {uses}. Source: {_linked(technique.paper)}</p>"
    )


def _linked(source: str) -> str:
    """A source with a link where it names one."""
    return re.sub(r"(arXiv|doi):(\S+)", lambda found: f"<a href='{SITES[found[1]]}{found[2]}' target='_blank' rel='noopener'>{found[0]}</a>", escape(source))


def _panel_places(technique: Technique) -> dict[str, gr.HTML]:
    """An HTML component for each panel."""
    with gr.Row(elem_classes="lp-panels", equal_height=False):
        return {
            name: gr.HTML(
                "" if place else "<div class='lp-empty'><p>Press <b>Run</b>.</p></div>",
                elem_id=f"{technique.name}-{name}",
                elem_classes=f"lp-slot lp-slot-{kind.__name__.lower()}",
            )
            for place, (name, kind) in enumerate(technique.results.items())
        }
