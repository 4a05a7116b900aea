"""The set of pictures, for techniques that compare several: add, look, clear."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

import model_zoo
from model_zoo.errors import AppError, UploadError
from ui.choosing import read_sample, samples_for
from ui.events import LIGHT
from ui.files import shown_picture
from ui.header import Header
from ui.session import Session, Sessions
from ui.upload import PicturesInput, Upload

MOST = 200  # pictures in one set


@dataclass(frozen=True)
class Tray:
    """The components of the picture set."""

    gallery: gr.Gallery
    files: PicturesInput
    add_current: gr.Button
    add_samples: gr.Button
    clear: gr.Button


def build_tray() -> Tray:
    with gr.Column(elem_classes="lp-card lp-tray"):
        gr.HTML("<h3>The pictures to compare</h3>")
        gallery = gr.Gallery(
            format="png", columns=8, height=150, allow_preview=False, show_label=False, interactive=False, object_fit="cover", elem_id="tray", buttons=[]
        )
        with gr.Row():
            files = PicturesInput(file_count="multiple", label="Add picture files", height=90, elem_id="tray-files", scale=3)
            with gr.Column(scale=2, min_width=180):
                add_current = gr.Button("Add the current picture", size="sm", elem_id="tray-add-current")
                add_samples = gr.Button("Add all samples", size="sm", elem_id="tray-add-samples")
                clear = gr.Button("Clear", size="sm", elem_id="tray-clear")
    return Tray(gallery, files, add_current, add_samples, clear)


def tray_items(session: Session) -> list[tuple[str, str]]:
    """What the gallery shows: (path of a PNG, name) of each picture of the set."""
    return [(shown_picture(picture.image), picture.origin) for picture in session.pictures]


def wire_tray(tray: Tray, header: Header, sessions: Sessions) -> None:
    def change(edit):
        """A handler that edits the set of the visitor's session and shows it."""

        def handler(session_id: str, *values):
            session = sessions.find(session_id)
            if session is None:
                return gr.skip()
            edit(session, *values)
            if len(session.pictures) > MOST:
                del session.pictures[MOST:]
                gr.Warning(f"A set holds at most {MOST} pictures; the first {MOST} are kept.")
            return tray_items(session)

        return handler

    def add_files(session: Session, uploads: list[Upload]) -> None:
        for upload in uploads:
            try:
                session.pictures.append(upload.read())
            except UploadError as error:
                gr.Warning(escape(str(error)), title="A picture was not taken")

    def add_current(session: Session) -> None:
        if session.picture is not None:
            session.pictures.append(session.picture)

    def add_samples(session: Session) -> None:
        try:
            channels = model_zoo.load(session.model_key).preprocessing.channels
        except AppError as error:
            raise gr.Error(str(error), print_exception=False) from error
        session.pictures.extend(read_sample(entry) for entry in samples_for(channels))

    def clear(session: Session) -> None:
        session.pictures.clear()

    tray.files.upload(change(add_files), [header.session, tray.files], tray.gallery, **LIGHT)
    tray.add_current.click(change(add_current), header.session, tray.gallery, **LIGHT)
    tray.add_samples.click(change(add_samples), header.session, tray.gallery, **LIGHT)
    tray.clear.click(change(clear), header.session, tray.gallery, **LIGHT)
