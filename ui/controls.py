"""From a technique's declared setting to the control a visitor moves."""

from __future__ import annotations

import gradio as gr

from techniques.base import Param

FEW = 4  # choices up to which all are shown at once


def control(param: Param, technique: str) -> gr.components.Component:
    """The Gradio component for one setting; its label and help come from the declaration."""
    common = {"label": param.title, "info": param.help, "elem_id": f"{technique}-{param.name}", "interactive": True}
    if param.kind in ("number", "integer"):
        unit = param.range.unit
        label = f"{param.title} ({unit})" if unit and unit not in param.name else param.title
        return gr.Slider(param.range.low, param.range.high, value=param.default, step=param.range.step, **{**common, "label": label})
    if param.kind == "choice":
        kind = gr.Radio if len(param.choices) <= FEW and not param.names else gr.Dropdown
        return kind(_titled(param), value=param.default, **common)
    if param.kind == "choices":
        return gr.Dropdown(_titled(param), value=list(param.default), multiselect=True, allow_custom_value=bool(param.more), **common)
    if param.kind == "flag":
        return gr.Checkbox(value=param.default, **common)
    raise TypeError(f"{technique}: no control for a setting of kind {param.kind}")


def _titled(param: Param) -> list[tuple[str, str]]:
    """What the control shows of each choice, and the choice."""
    return [(title, text) for text, title in param.titles.items()]
