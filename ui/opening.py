"""Opening an answer that was saved: its panels are back without a run and without the model that made it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from techniques.base import Samples, Technique
from techniques.base.saved import open_saved
from ui.choosing import GONE
from ui.events import READING
from ui.session import Answered, Sessions
from ui.settings import Settings
from ui.upload import FileInput, Upload
from ui.worker import Done, Failed, in_worker

if TYPE_CHECKING:
    from ui.technique_tab import TechniqueTab

LONGEST = 80  # characters of a text from a file that are shown


def build_opening(technique: Technique) -> FileInput:
    return FileInput(label="Open a saved computation", height=120, file_types=[".zip", ".npz"], elem_id=f"{technique.name}-saved")


def wire_opening(file: FileInput, tab: TechniqueTab, session_state: gr.State, sessions: Sessions, settings: Settings) -> None:
    """Show an uploaded answer in the technique's tab as if it had just been run; a file that is none leaves what is there."""
    untouched = tab.fill(None)[1:]

    def open_file(session_id: str, upload: Upload | None) -> Iterator[list]:
        session = sessions.find(session_id)
        if session is None or upload is None:
            raise gr.Error(GONE, print_exception=False)
        yield ["<p class='lp-hint lp-busy'>Opening …</p>", *untouched, gr.skip()]
        for event in in_worker(lambda run: open_saved(tab.technique, upload.path), settings.seconds):
            if isinstance(event, Failed):
                yield [f"<p class='lp-error' role='alert'>{escape(event.text)}</p>", *untouched, None]
            elif isinstance(event, Done):
                answer, manifest = event.value
                answered = Answered(answer, Samples(()), "", "", {}, opened=_about(upload.name, manifest))
                sessions.keep(session, tab.technique.name, answered)
                yield [*tab.fill(answered), None]

    file.upload(open_file, [session_state, file], [*tab.outputs, file], show_progress_on=tab.status, **READING)


def _about(name: str, manifest: dict[str, Any]) -> str:
    """The file in a line: when it was saved, with which model, of how many pictures."""
    model, pictures = manifest.get("model"), manifest.get("pictures")
    said = [
        f"{name[:LONGEST]}, opened",
        f"saved {manifest['time'][:10]}" if isinstance(manifest.get("time"), str) else "",
        str(model.get("title") or "")[:LONGEST] if isinstance(model, dict) else "",
        f"{len(pictures)} pictures" if isinstance(pictures, list) else "",
    ]
    return " · ".join(filter(None, said))
