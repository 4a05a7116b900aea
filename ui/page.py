"""The whole page: the header, the tabs from the registry, and the ways between them."""

from __future__ import annotations

import json
from html import escape
from importlib.util import find_spec
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from techniques import catalogue
from techniques.base import FAMILIES
from techniques.base.drawing import SIGNED_MAPS, UNSIGNED_MAPS, colour_table
from ui.api import build_api
from ui.bell import build_bell
from ui.guard import MEGABYTE, Guard, fetch_nothing
from ui.header import build_header
from ui.sending import build_trail
from ui.session import Sessions
from ui.settings import Settings
from ui.technique_tab import TechniqueTab, build_tab
from ui.theme import theme
from ui.tray import build_tray
from ui.walking import build_walks
from ui.wiring import Page, wire

ASSETS = Path(__file__).parent / "assets"


def build(settings: Settings) -> gr.Blocks:
    """The Blocks of the whole app; nothing in here imports torch."""
    fetch_nothing()
    sessions = Sessions(settings.model)
    techniques = list(catalogue().values())
    with gr.Blocks(title="Loupe", delete_cache=(300, 3600), analytics_enabled=False, fill_width=True) as demo:
        header = build_header(settings.model)
        walk = build_walks()
        trail = build_trail()
        tray = build_tray(settings)
        bell = build_bell()
        file = gr.DownloadButton(visible="hidden", elem_id="file")
        tabs: list[TechniqueTab] = []
        groups: dict[str, gr.Tabs] = {}
        with gr.Tabs(elem_id="families", overflow_behavior="wrap") as families:
            for family, meaning in FAMILIES.items():
                members = [technique for technique in techniques if technique.family == family]
                if not members:
                    continue
                with gr.Tab(family, id=family, elem_id=slug("family", family)):
                    gr.HTML(f"<p class='lp-family'>{escape(meaning)}</p>")
                    with gr.Tabs(elem_id=slug("techniques", family), overflow_behavior="wrap") as groups[family]:
                        tabs.extend(build_tab(technique, header, sessions, settings) for technique in members)
        build_api(settings)
        wire(demo, Page(header, tuple(tabs), families, groups, sessions, settings, trail, tray, walk, file, bell))
    demo.queue(max_size=24, api_open=False)
    return demo


def slug(prefix: str, family: str) -> str:
    """The id of a family's place on the page."""
    return f"{prefix}-{family.lower().replace(' ', '-')}"


def launch_options(settings: Settings) -> dict:
    """What `demo.launch` gets: our look, closed doors, and limits."""
    colours = {
        kind: {name: colour_table(name).ravel().tolist() for name in names}
        for kind, names in (("signed", SIGNED_MAPS), ("unsigned", UNSIGNED_MAPS))
    }
    script = (ASSETS / "loupe.js").read_text(encoding="utf-8")
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": settings.share,
        "theme": theme(),
        "css_paths": [ASSETS / "loupe.css"],
        "head": f"<script>window.loupeColours = {json.dumps(colours, separators=(',', ':'))};</script><script>{script}</script>",
        "max_file_size": settings.max_upload_mb * MEGABYTE,
        "app_kwargs": {"middleware": [Middleware(Guard, max_upload_mb=settings.max_upload_mb)]},
        "footer_links": ["api"],
        "show_error": False,
        "ssr_mode": False,
        "enable_monitoring": False,
        "run_history": False,
        "allowed_paths": [],
        "state_session_capacity": 500,
        "_frontend": False,  # or gradio asks for the page at once, and gives up where a slow machine needs more than three seconds
        "mcp_server": settings.mcp and find_spec("mcp") is not None,
    }
