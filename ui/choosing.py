"""Choosing the picture: upload, webcam, paste, a sample, or a digit drawn by hand."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from html import escape
from pathlib import Path

import gradio as gr
from PIL import Image

from model_zoo.errors import AppError, UploadError
from model_zoo.loaded import LoadedModel
from techniques.base import Sample
from techniques.base.pictures import ReadPicture, read_picture
from techniques.base.sample import to_image
from ui.events import LIGHT, told
from ui.files import png_bytes, shown_picture
from ui.header import Header
from ui.panels import data_url
from ui.samples import SamplePicture, digits, photographs, sample
from ui.session import Session, Sessions
from ui.upload import Upload

PAINTING_SIDE = 1024  # px; larger paintings are not ours
GONE = "This page has rested too long. Please reload it and choose your picture again."


def samples_for(channels: int) -> list[SamplePicture]:
    """The samples that fit a model with so many input channels."""
    return list(digits() if channels == 1 else photographs())


def choose_sample(session: Session, channels: int) -> None:
    """Start with samples that fit the model; a visitor's own pictures stay."""
    fitting = samples_for(channels)
    ours = {entry.title for entry in (*digits(), *photographs())}
    if session.picture is None or session.picture.origin in ours:
        session.picture = read_sample(fitting[0])
    if all(picture.origin in ours for picture in session.pictures):
        session.pictures = [read_sample(entry) for entry in fitting[:2]]


def read_sample(entry: SamplePicture) -> ReadPicture:
    return read_picture(entry.path, entry.title)


def shown(session: Session) -> list:
    """The current picture for the input component, and the line below it."""
    picture = session.picture
    if picture is None:
        return [None, "<p class='lp-origin'>No picture chosen</p>"]
    exact = " · at full precision" if isinstance(picture, Sample) and picture.exact else ""
    notes = "".join(f"<span class='lp-note-tag'>{escape(note)}</span>" for note in picture.notes)
    return [shown_picture(picture.image), f"<p class='lp-origin'>{escape(picture.origin)}{exact}{notes}</p>"]


def seen(sample: Sample, model: LoadedModel) -> str:
    """What the model sees of a picture, and how it was made to fit."""
    height, width = sample.pixels.shape[-2:]
    fitted = sample.exact and tuple(sample.image.size) == (width, height)
    how = "pixel by pixel" if fitted else model.preprocessing.framed(sample.framing).own_framing
    image = f"<img src='{data_url(png_bytes(to_image(sample.pixels[0])))}' alt='What the model sees'>"
    caption = f"What the model sees: {height} × {width} px, {escape(how)}"
    return f"<figure class='lp-seen' data-of='{mark_of(sample, model.key)}'>{image}<figcaption>{caption}</figcaption></figure>"


def mark_of(sample: Sample, model_key: str) -> str:
    """A short name for these pixels before this model: the page tells by it what an answer is of."""
    return hashlib.sha256(sample.pixels.cpu().contiguous().numpy().tobytes() + model_key.encode()).hexdigest()[:16]


def painting(png: str) -> Image.Image | None:
    """A PNG data address from the page as a picture; None when it is no such thing."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2], validate=True)), formats=("PNG",)) as image:
            return image.convert("RGBA") if max(image.size) <= PAINTING_SIDE else None
    except (OSError, ValueError, binascii.Error, AttributeError):
        return None


def _is_shown(file: Upload, session: Session) -> bool:
    """Whether this is our own file of the current picture: Gradio sends it once more when the page takes it away to make room
    for another one. The input then stays empty, or nobody could click on it to choose a file, and the picture what it was."""
    return session.picture is not None and Path(file.path).name == Path(shown_picture(session.picture.image)).name


def wire_choosing(header: Header, sessions: Sessions) -> None:
    """Connect every way to choose a picture."""

    def upload(session_id: str, file: Upload | None) -> list:
        session = sessions.find(session_id)
        if session is None:
            raise gr.Error(GONE, print_exception=False)
        if file is None or _is_shown(file, session):
            return [gr.skip()] * 3
        try:
            session.picture = file.read()
        except UploadError as error:
            gr.Warning(escape(str(error)), title="This picture was not taken")
        return [*shown(session), told()]

    def pick(session_id: str, event: gr.EventData) -> list:
        session = sessions.find(session_id)
        if session is None:
            raise gr.Error(GONE, print_exception=False)
        try:
            session.picture = read_sample(sample(str(event._data.get("name"))))
        except AppError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        return [*shown(session), told()]

    def sketch(session_id: str, event: gr.EventData) -> list:
        session = sessions.find(session_id)
        drawn = painting(event._data.get("png"))
        if session is None or drawn is None:
            raise gr.Error(GONE, print_exception=False)
        session.picture = ReadPicture(drawn.getchannel("A"), "drawn by hand")
        return [*shown(session), told()]

    outputs = [header.picture, header.origin, header.changed]
    header.picture.input(upload, [header.session, header.picture], outputs, trigger_mode="always_last", **LIGHT)
    header.samples.pick(pick, header.session, outputs, trigger_mode="multiple", **LIGHT)
    header.sketch.paint(sketch, header.session, outputs, trigger_mode="multiple", **LIGHT)
