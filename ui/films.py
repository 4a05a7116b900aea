"""The replay of a run as a file: made from the answer that is kept, when somebody presses GIF or MP4 under a player."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from techniques.base import Animation, Browser
from techniques.base.drawing import file_name, gif_bytes, mp4_bytes
from techniques.base.results import panels
from ui.browsing import cell_at
from ui.files import new_folder, prune
from ui.session import Session

WRITTEN_BY = {"gif": gif_bytes, "mp4": mp4_bytes}


def film_file(session: Session | None, places: dict[str, tuple[str, str]], told: dict[str, Any]) -> str:
    """The path of the film that the page asks for; `places` are the techniques and panels by the id of their component."""
    technique, panel = places.get(str(told.get("place")), ("", ""))
    answered = session.answers.get(technique) if session else None
    result = panels(answered.answer).get(panel) if answered else None
    film = cell_at(result, told.get("path"))
    write = WRITTEN_BY.get(str(told.get("kind")))
    if not isinstance(film, Animation) or write is None:
        raise gr.Error("This replay is no longer kept. Please run it again.", print_exception=False)
    within = told["path"] if isinstance(result, Browser) else ()
    path = Path(new_folder(technique), f"{file_name(technique, panel, *within)}.{told['kind']}")
    path.write_bytes(write(film))
    prune()
    return str(path)
