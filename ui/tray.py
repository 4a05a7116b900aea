"""The set of pictures, for techniques that compare several: add files, a zip, samples or a folder of this machine; look, and
take out again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

import model_zoo
from model_zoo.errors import AppError, UploadError
from techniques.base import Predictions, Run
from techniques.base.picture_sets import MOST, PictureSet, read_here, read_set
from techniques.base.sample import Samples
from ui.choosing import GONE, read_sample, samples_for
from ui.events import COMPUTE, LIGHT, READING
from ui.header import Header
from ui.session import Session, Sessions
from ui.settings import Settings
from ui.upload import PicturesInput, Upload
from ui.worker import Done, Failed, Progress, Stopped, in_worker, until

WORK = "reading pictures"
BATCH = 16  # pictures that are predicted at once

FORWARD = """
element.addEventListener('click', (event) => {
  const item = event.target.closest('[data-remove],[data-turn]');
  if (item && item.dataset.remove) trigger('remove', {number: item.dataset.remove});
  if (item && item.dataset.turn) trigger('turn', {first: item.dataset.turn});
});
const ask = () => { if (element.querySelector('[data-unasked]')) trigger('ask', {}); };
new MutationObserver(ask).observe(element, {childList: true, subtree: true, attributes: true});
ask();"""


@dataclass(frozen=True)
class Tray:
    """The components of the picture set; `place` and `add_place` are there only where the page is for one's own machine."""

    gallery: gr.HTML
    status: gr.HTML
    stop: gr.Button
    files: PicturesInput
    count: gr.Number
    add_samples: gr.Button
    add_current: gr.Button
    clear: gr.Button
    place: gr.Textbox | None
    add_place: gr.Button | None


TRAY_PLACE = "<loupe-tray-place></loupe-tray-place>"


def build_tray(settings: Settings) -> Tray:
    """The set of the whole page; it stands wherever a TRAY_PLACE is in sight, in each technique that takes a set."""
    place = add_place = None
    with gr.Column(elem_id="tray-home"), gr.Column(elem_classes="lp-card lp-tray", elem_id="tray-box"):
        gr.HTML("<h3>The pictures to compare</h3>")
        gallery = gr.HTML(elem_id="tray", js_on_load=FORWARD)
        status = gr.HTML(elem_id="tray-status")
        stop = gr.Button("Stop", size="sm", visible=False, elem_id="tray-stop")
        with gr.Row(equal_height=False):
            files = PicturesInput(
                file_count="multiple", label="Add pictures, or a zip with one folder per group", height=150, elem_id="tray-files", scale=3
            )
            with gr.Column(scale=2, min_width=200):
                add_current = gr.Button("Add the current picture", size="sm", elem_id="tray-add-current")
                clear = gr.Button("Clear", size="sm", elem_id="tray-clear")
            with gr.Column(scale=3, min_width=240, elem_classes="lp-tray-more"):
                count = gr.Number(0, label="How many, at random", info="0: all of them", precision=0, minimum=0, maximum=MOST, elem_id="tray-count")
                add_samples = gr.Button("Add samples", size="sm", elem_id="tray-add-samples")
                if settings.local:
                    example = "A folder, a zip, or MNIST (.npz, idx)"
                    place = gr.Textbox(label="From this machine", placeholder=example, max_lines=1, max_length=1000, elem_id="tray-place")
                    add_place = gr.Button("Add from this machine", size="sm", elem_id="tray-add-place")
    return Tray(gallery, status, stop, files, count, add_samples, add_current, clear, place, add_place)


def tray_items(session: Session) -> str:
    """The wall of the visitor's set as it is now."""
    return session.wall.html(session.pictures, (session.model_key, session.framing))


def wire_tray(tray: Tray, header: Header, sessions: Sessions, settings: Settings) -> None:
    """Connect the set's controls; a wall with pictures that the model has not been asked about asks for that itself."""
    shows = [tray.gallery, tray.status, tray.stop, tray.files]

    def reads(read: Callable[..., PictureSet]) -> dict:
        return {"fn": _reading(sessions, settings, read), "outputs": shows, "show_progress_on": tray.status, **READING}

    def changes(edit: Callable[..., None]) -> dict:
        return {"fn": _changing(sessions, edit), "outputs": tray.gallery, **LIGHT}

    tray.files.upload(inputs=[header.session, tray.files], **reads(_read_files))
    tray.add_samples.click(inputs=[header.session, tray.count, header.seed], **reads(_read_samples))
    tray.add_current.click(inputs=[header.session], **changes(_add_current))
    tray.clear.click(inputs=[header.session], **changes(lambda session: session.pictures.clear()))
    tray.gallery.remove(inputs=[header.session], trigger_mode="multiple", **changes(_remove))
    tray.gallery.turn(inputs=[header.session], trigger_mode="multiple", **changes(_turn))
    if tray.add_place:
        gr.on(
            [tray.add_place.click, tray.place.submit], inputs=[header.session, tray.place, tray.count, header.seed], **reads(_read_place)
        )
    tray.gallery.ask(
        _predicting(sessions, settings), header.session, tray.gallery, trigger_mode="always_last", show_progress_on=tray.status, **COMPUTE
    )
    tray.stop.click(lambda session_id: _found(sessions, session_id).stop(WORK), header.session, None, **LIGHT)


def _found(sessions: Sessions, session_id: str) -> Session:
    session = sessions.find(session_id)
    if session is None:
        raise gr.Error(GONE, print_exception=False)
    return session


def _changing(sessions: Sessions, edit: Callable[..., None]) -> Callable:
    """A handler that edits the set of the visitor's session at once and shows it."""

    def handler(session_id: str, event: gr.EventData) -> str:
        session = _found(sessions, session_id)
        edit(session, *([event] if edit in (_remove, _turn) else []))
        return tray_items(session)

    return handler


def _add_current(session: Session) -> None:
    if session.picture is not None and len(session.pictures) < MOST:
        session.pictures.append(session.picture)


def _remove(session: Session, event: gr.EventData) -> None:
    """Take out one picture by its number; a second press on the same place finds it gone."""
    for place, picture in enumerate(session.pictures):
        if str(session.wall.thumbnail(picture).number) == str(event._data.get("number")):
            del session.pictures[place]
            return


def _turn(session: Session, event: gr.EventData) -> None:
    first = str(event._data.get("first"))
    session.wall.first = int(first) if first.isdecimal() and len(first) < 6 else 0


def _reading(sessions: Sessions, settings: Settings, read: Callable[..., PictureSet]) -> Callable:
    """A handler that adds what `read(session, run, values)` gives: it tells of progress, can be stopped, and changes the
    set only when all has been read."""

    def handler(session_id: str, *values: Any) -> Iterator[list]:
        session = _found(sessions, session_id)
        work = in_worker(lambda run: read(session, run, *values), settings.seconds)
        for event in until(session.begin(WORK), work):
            if isinstance(event, Progress):
                yield [gr.skip(), f"<p class='lp-hint lp-busy'>{escape(event.text or 'Reading …')}</p>", gr.Button(visible=True), gr.skip()]
                continue
            said = ""
            if isinstance(event, Done):
                said = _taken(session, sessions, event.value)
            elif isinstance(event, Failed):
                said = f"<p class='lp-error' role='alert'>{escape(event.text)}</p>"
            elif isinstance(event, Stopped):
                said = "<p class='lp-hint'>Stopped; the set stays as it was.</p>"
            yield [tray_items(session), said, gr.Button(visible=False), None]

    return handler


def _taken(session: Session, sessions: Sessions, found: PictureSet) -> str:
    """Put the pictures into the set, where this server has room for them; a line about what was left out or changed."""
    try:
        sessions.add(session, found.pictures)
    except UploadError as error:
        return f"<p class='lp-error' role='alert'>{escape(str(error))}</p>"
    return "".join(f"<p class='lp-hint'>{escape(note)}</p>" for note in found.notes)


def _read_files(session: Session, run: Run, uploads: list[Upload]) -> PictureSet:
    return read_set([(upload.path, upload.name) for upload in uploads], run, session.pictures)


def _read_samples(session: Session, run: Run, count: float | None, seed: float | None) -> PictureSet:
    """Sample pictures that fit the model, all or some at random."""
    entries = samples_for(model_zoo.load(session.model_key, run).preprocessing.channels)
    if count and count < len(entries):
        chosen = random.Random(int(seed or 0)).sample(range(len(entries)), int(count))
        entries = [entries[index] for index in sorted(chosen)]
    return PictureSet(tuple(read_sample(entry) for entry in run.steps(entries, "Reading picture")))


def _read_place(session: Session, run: Run, place: str, count: float | None, seed: float | None) -> PictureSet:
    if not str(place).strip():
        raise UploadError("Write the path of a folder, a zip file or a data set on this machine first.")
    return read_here(str(place).strip(), run, session.pictures, int(count) if count and count > 0 else None, int(seed or 0))


def _predicting(sessions: Sessions, settings: Settings) -> Callable[[str], Iterator[str]]:
    """A handler that asks the model about the pictures that are shown and has not been asked about, some at a time."""

    def predict(session_id: str) -> Iterator[str]:
        yield gr.skip()  # a generator that ends without a word would empty the wall
        session, deadline = sessions.find(session_id), time.monotonic() + settings.seconds
        while session is not None and time.monotonic() < deadline:
            asked = (session.model_key, session.framing)
            thumbnails = {picture: session.wall.thumbnail(picture) for picture in session.wall.shown(session.pictures)}
            waiting = [picture for picture, thumbnail in thumbnails.items() if thumbnail.asked != asked][:BATCH]
            if not waiting:
                return
            try:
                model = model_zoo.load(session.model_key)
                pixels = Samples.of(waiting, model, session.framing).pixels
                with model.lock:
                    logits = model.logits(pixels.to(model.device)).detach().cpu().numpy()
            except AppError:
                return  # whoever runs a technique on them is told why
            predictions = Predictions.of(model, logits)
            for row, picture in enumerate(waiting):
                (_, label, share), *_ = predictions.top(1, row)
                thumbnails[picture].said, thumbnails[picture].asked = f"{label.split(',')[0]} {100 * share:.0f} %", asked
            yield tray_items(session)

    return predict
