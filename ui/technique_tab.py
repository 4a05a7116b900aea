"""One technique's page: what it means, its settings, Run and Stop, and a place for each of its panels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import gradio as gr

from techniques.base import Browser, Technique
from ui.browsing import Axes, build_axes, wire_axes
from ui.controls import control
from ui.events import LIGHT
from ui.header import Header
from ui.painting import build_canvas
from ui.running import run_handler, save_handler
from ui.session import Sessions
from ui.settings import Settings
from ui.tray import Tray, build_tray

FORWARD_SEND = """
element.addEventListener('change', (event) => {
  const list = event.target.closest('.lp-send');
  if (list && list.value) { trigger('send', {panel: list.dataset.panel, technique: list.value}); list.value = ''; }
});"""


@dataclass(frozen=True)
class TechniqueTab:
    """The components of one technique, and what runs it. `handler` takes the header's values, then `controls`."""

    technique: Technique
    notice: gr.HTML
    controls: list
    paint: gr.HTML | None
    tray: Tray | None
    run: gr.Button
    stop: gr.Button
    status: gr.HTML
    download: gr.Button
    panels: dict[str, gr.HTML]
    axes: dict[str, Axes]
    handler: Callable

    @property
    def outputs(self) -> list:
        """What a run changes, in the order of the handler's answer."""
        walks = [part for axes in self.axes.values() for part in (axes.outer, axes.inner)]
        return [self.status, self.run, self.stop, self.download, *self.panels.values(), *walks]


def build_tab(technique: Technique, header: Header, sessions: Sessions, settings: Settings, choices: list[tuple[str, str]]) -> TechniqueTab:
    """Lay out one technique. `choices` are the techniques a picture may be sent to, (title, name)."""
    name = technique.name
    settable = [param for param in technique.own_params if param.kind != "mask"]
    with gr.Tab(technique.title, id=name, elem_id=f"tab-{name}"):
        gr.HTML(f"<div class='lp-intro'><h2>{escape(technique.title)}</h2><p>{escape(technique.meaning)}</p></div>")
        notice = gr.HTML(elem_id=f"{name}-notice")
        tray = build_tray() if technique.many else None
        with gr.Row(equal_height=False, elem_classes="lp-technique"):
            with gr.Column(scale=0, min_width=300, elem_classes="lp-card lp-settings"):
                paint = build_canvas(name) if len(settable) < len(technique.own_params) else None
                controls = [control(param, name) for param in settable]
                with gr.Row(elem_classes="lp-run"):
                    run = gr.Button("Run", variant="primary", elem_id=f"{name}-run", min_width=90)
                    stop = gr.Button("Stop", elem_id=f"{name}-stop", min_width=90, interactive=False)
                status = gr.HTML(elem_id=f"{name}-status", elem_classes="lp-status")
                download = gr.Button("Download pictures and numbers", visible=False, size="sm", elem_id=f"{name}-download")
                file = gr.DownloadButton(visible="hidden", elem_id=f"{name}-file")
                gr.HTML(_small_print(technique))
            with gr.Column(scale=1, min_width=300):
                panels, axes = _panel_places(technique)
    handler = run_handler(technique, [param.name for param in settable], sessions, settings, list(panels), list(axes), choices)
    saved = download.click(save_handler(technique, sessions), header.session, file, **LIGHT)
    # gradio's own button hands out the file of the press before: it is pressed here once its file is there
    saved.success(None, js=f"() => requestAnimationFrame(() => document.getElementById('{name}-file').click())", **LIGHT)
    for panel, controls_of_panel in axes.items():
        wire_axes(technique.name, panel, controls_of_panel, panels[panel], header.session, sessions)
    return TechniqueTab(technique, notice, controls, paint, tray, run, stop, status, download, panels, axes, handler)


def _small_print(technique: Technique) -> str:
    """What the picture does not say, what it is made from, and its source."""
    words = {"target": "class", "layer": "layer", "seed": "seed"}
    shared = [words[param.kind] for param in technique.params if param.kind in words]
    uses = ", ".join(["the pictures above" if technique.many else "picture", "model", *shared])
    link = technique.paper.replace("arXiv:", "https://arxiv.org/abs/")
    source = f"<a href='{escape(link)}' target='_blank' rel='noopener'>{escape(technique.paper)}</a>" if "://" in link else escape(technique.paper)
    return (
        f"<details class='lp-limits' open><summary>What this does not tell you</summary><p>{escape(technique.limits)}</p></details>"
        f"<p class='lp-uses'>Reads from the top of the page: {uses}. Source: {source}</p>"
    )


def _panel_places(technique: Technique) -> tuple[dict[str, gr.HTML], dict[str, Axes]]:
    """An HTML component for each panel; a browser has two controls above it, hidden until they are needed."""
    panels: dict[str, gr.HTML] = {}
    axes: dict[str, Axes] = {}
    with gr.Row(elem_classes="lp-panels", equal_height=False):
        for name, kind in technique.results.items():
            with gr.Column(min_width=250, elem_classes=f"lp-slot lp-slot-{kind.__name__.lower()}"):
                if kind is Browser:
                    axes[name] = build_axes(technique.name, name)
                empty = "" if panels else "<div class='lp-empty'>Press <b>Run</b>.</div>"
                panels[name] = gr.HTML(empty, elem_id=f"{technique.name}-{name}", js_on_load=FORWARD_SEND)
    return panels, axes
