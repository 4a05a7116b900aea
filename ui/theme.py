"""Colours, type and spacing: paper and ink, one warm accent; fonts that gradio ships, so none is fetched.

Its semi-bold cut holds only some letters; with regular and bold alone every weight above 500 is drawn in bold.
"""

from __future__ import annotations

import gradio as gr

ACCENT = gr.themes.Color(
    name="vermilion",
    c50="#fff4ee", c100="#ffe4d6", c200="#ffc7ad", c300="#ffa27a", c400="#ff7a45", c500="#f25a1d",
    c600="#d9480f", c700="#b53a0b", c800="#8f310f", c900="#742c11", c950="#3f1406",
)  # fmt: skip
INK = gr.themes.Color(
    name="ink",
    c50="#faf8f5", c100="#f3f0ea", c200="#e7e2d9", c300="#d3ccbf", c400="#a49c8f", c500="#7a7369",
    c600="#5a544c", c700="#413d37", c800="#2a2724", c900="#1c1a18", c950="#131211",
)  # fmt: skip


def theme() -> gr.themes.Base:
    return gr.themes.Base(
        primary_hue=ACCENT,
        secondary_hue=INK,
        neutral_hue=INK,
        radius_size=gr.themes.sizes.radius_md,
        font=(gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"),
        font_mono=(gr.themes.LocalFont("IBM Plex Mono"), "ui-monospace", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_shadow="none",
        input_background_fill="white",
        input_background_fill_dark="*neutral_900",
        input_border_width="1px",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_text_color="white",
        button_secondary_background_fill="*neutral_200",
        button_secondary_background_fill_dark="*neutral_800",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
        layout_gap="14px",
        form_gap_width="0px",
        block_padding="0px",
        block_info_text_size="*text_sm",
        block_title_text_weight="600",
        border_color_primary="*neutral_200",
        border_color_primary_dark="*neutral_800",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
    )
