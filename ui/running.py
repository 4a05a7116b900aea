"""What Run does: a generator that tells of progress four times a second, fills the panels, and ends when it is closed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

import model_zoo
from model_zoo.errors import AppError
from techniques.base import TECHNIQUES, Animation, Browser, LoadedModel, Sample, Samples, Technique
from techniques.base.export import write_bundle
from techniques.base.results import Result, panels
from ui.bell import ring
from ui.browsing import browser_html, is_large
from ui.choosing import GONE, mark_of
from ui.events import told
from ui.files import new_folder, prune
from ui.panels import panel, progress
from ui.session import Answered, Session, Sessions
from ui.settings import Settings
from ui.worker import Done, Event, Failed, Preview, Progress, dispatch, until

BUTTONS = 4  # the outputs of a run before its panels: status, Run, Stop, Download
NEWS = 3  # times a second that a page is told of a run at the most: each costs it time, in which it hears nothing
PER_SECOND = 1_000_000  # characters of panels that a page is sent while a run goes on, as much as an ordinary line carries
AS_FAR = "What is shown is as far as it came."
NOTHING_YET = "<p class='lp-hint'>Stopped. There was nothing to show yet.</p>"


def run_handler(
    technique: Technique, own: list[str], sessions: Sessions, settings: Settings, fill: Callable[[Answered | None], list]
) -> Callable[..., Iterator[list]]:
    """The handler behind Run, for the header's values (the last is whether both pictures of the pair are meant) and those of
    the technique's `own` controls.

    Yields status, Run, Stop, download, a value per panel, and last what the page is told once it is done. What is shown on
    the way is kept like an answer: whoever stops the run can save it and send it on.
    """

    def handler(session_id: str, target: str, layer: str, seed: float | None, both: bool, *values: Any) -> Iterator[list]:
        session = sessions.find(session_id)
        if session is None:
            yield _failed(technique, fill, GONE)
            return
        if not technique.many and session.picture is None:
            yield _failed(technique, fill, "There is no picture yet. Choose a sample or upload one at the top of the page.")
            return
        stop = session.begin(technique.name)
        given = dict(zip(own, values)) | _shared(technique, target, layer, seed, session)
        yield [progress(0.0, "Starting"), *_buttons(technique, running=True), *fill(None)[BUTTONS:], gr.skip()]
        try:
            model = model_zoo.load(session.model_key)
            sample = _pictures(technique, session, model, bool(both))
        except AppError as error:
            yield _failed(technique, fill, str(error))
            return
        shown = sent = None
        line, start, so_far = Line(), time.perf_counter(), Progress(0.0, "Starting")
        for event in until(stop, dispatch(technique.name, sample, session.model_key, given, settings.seconds)):
            if isinstance(event, (Preview, Done)):
                unfinished = event.text or "its beginning" if isinstance(event, Preview) else ""
                seconds = time.perf_counter() - start
                shown = Answered(event.value, sample, model.key, model.title, given, unfinished=unfinished, seconds=seconds)
                sessions.keep(session, technique.name, shown)
            so_far = event if isinstance(event, Progress) else so_far
            if not isinstance(event, (Progress, Preview)):
                yield _ended(technique, fill, event, shown)
            elif line.is_free:
                news, sent = None if shown is sent else _live(shown), shown
                yield line.news([progress(so_far.fraction, so_far.text), *fill(news)[1:], gr.skip()])

    return handler


class Line:
    """What a page is sent on the way of a run: `NEWS` times a second, nothing that it has already, and no more than `PER_SECOND`. Gradio does not
    wait for a page that reads slowly: what it has not read yet would stand between a press on Stop and its effect."""

    def __init__(self) -> None:
        self._sent: dict[int, str] = {}
        self._free = 0.0

    @property
    def is_free(self) -> bool:
        return time.monotonic() >= self._free

    def news(self, outputs: list) -> list:
        """The outputs without those that are as they were sent last, and without the buttons, which are as they are until it ends."""
        texts = {place: value for place, value in enumerate(outputs) if isinstance(value, str) and not 0 < place < BUTTONS}
        new = {place: text for place, text in texts.items() if self._sent.get(place) != text}
        self._sent |= new
        self._free = time.monotonic() + max(1 / NEWS, sum(map(len, new.values())) / PER_SECOND)
        return [new.get(place, gr.skip()) for place in range(len(outputs))]


def _ended(technique: Technique, fill: Callable[[Answered | None], list], event: Event, shown: Answered | None) -> list:
    """All outputs after the last event of a run; `shown` is the last answer of this run, finished or not."""
    if isinstance(event, Done):
        return [*fill(shown), told(ran=technique.name)]
    if shown is None:
        return _failed(technique, fill, event.text) if isinstance(event, Failed) else _nothing(technique, fill, NOTHING_YET)
    status, *others = fill(shown)
    return [_error(f"{event.text} {AS_FAR}") if isinstance(event, Failed) else status, *others, gr.skip()]


def _failed(technique: Technique, fill: Callable[[Answered | None], list], text: str) -> list:
    return _nothing(technique, fill, _error(text))


def _nothing(technique: Technique, fill: Callable[[Answered | None], list], why: str) -> list:
    """All outputs when there is no answer: the reason, and the panels as they were."""
    return [why, *_buttons(technique), *fill(None)[BUTTONS:], gr.skip()]


def _error(text: str) -> str:
    return f"<p class='lp-error' role='alert'>{escape(text)}</p>"


def _live(answered: Answered) -> Answered:
    """The answer with the last frame of each animation only: while it runs that is what one watches, and all frames at every step would be
    more than a line carries."""

    def latest(answer: Any) -> Any:
        if isinstance(answer, Animation):
            return replace(answer, frames=answer.frames[-1:], names=answer.names[-1:])
        return type(answer)(*map(latest, answer)) if hasattr(answer, "_fields") else answer

    return replace(answered, answer=latest(answered.answer))


def save_handler(sessions: Sessions) -> Callable[[str, gr.EventData], str]:
    """The handler behind Download: a zip with every picture, every number and the manifest of the last answer."""

    def save(session_id: str, event: gr.EventData) -> str:
        session, technique = sessions.find(session_id), TECHNIQUES.get(event._data.get("technique"))
        answered = session.answers.get(technique.name) if session and technique else None
        if answered is None or answered.opened:
            raise gr.Error("This result is no longer kept. Please run it again.", print_exception=False)
        try:
            model = model_zoo.load(answered.model_key)
        except AppError as error:
            raise gr.Error(escape(str(error)), print_exception=False) from error
        folder = new_folder(f"loupe-{technique.name}")
        write_bundle(folder, technique, answered.sample, model, answered.settings, answered.answer, answered.unfinished)
        archive = shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)
        prune()
        return archive

    return save


def _shared(technique: Technique, target: str, layer: str, seed: float | None, session: Session) -> dict[str, Any]:
    """The header's settings and the painted area, for those that the technique declares."""
    given = {"target": target, "layer": layer, "seed": int(seed or 0), "mask": session.masks.get(technique.name)}
    return {param.name: given[param.kind] for param in technique.params if param.kind in given}


def _buttons(technique: Technique, running: bool = False, answered: bool = False) -> list:
    """Run, Stop and Download; Download stays as it is unless there is a new answer."""
    download = ring("save", "Download pictures and numbers", f"{technique.name}-download", technique=technique.name)
    return [gr.Button(interactive=not running), stop_button(technique, running), download if answered else gr.skip()]


def stop_button(technique: Technique, running: bool = False) -> str:
    """The button that stops the technique, as HTML; it can be pressed while the technique runs."""
    return ring("stop", "Stop", f"{technique.name}-stop", disabled=not running, work=technique.name)


def _pictures(technique: Technique, session: Session, model: LoadedModel, both: bool) -> Sample | Samples:
    """What the technique is run on: the set, the pair, or the current picture."""
    if technique.many:
        return session.samples(model)
    return session.both(model) if both and session.current_pair else session.sample(model)


def _finished(answered: Answered, many: bool) -> str:
    """The line about an answer; of one picture's it also says, to the page, what it is of."""
    if answered.opened:
        return f"<p class='lp-done'>{escape(answered.opened)}</p>"
    sample = answered.sample
    mark = f" data-of='{mark_of(sample, answered.model_key)}'" if isinstance(sample, Sample) else ""
    if answered.unfinished:
        return f"<p class='lp-hint'{mark}>Stopped at {escape(answered.unfinished)}. {AS_FAR}</p>"
    pictures = sample.origin if isinstance(sample, Sample) else f"{len(sample)} pictures" if many else " · before and after · ".join(sample.origins)
    took = f" · {answered.seconds:.{1 if answered.seconds < 10 else 0}f} s" if answered.seconds else ""
    return f"<p class='lp-done'{mark}>{escape(pictures)} · {escape(answered.model_title)}{took}</p>"


def fill_panels(technique: Technique, places: list[str], answered: Answered | None) -> list:
    """New values for a tab that shows this answer, in the order of its outputs; with None it stays as it is."""
    if answered is None:
        return [gr.skip()] * (BUTTONS + len(places))
    run, stop, download = _buttons(technique, answered=True)
    download = "" if answered.opened else download  # whoever opened a file has it
    answer = panels(answered.answer)
    shown = [_shown(technique, name, answer.get(name), answered) for name in places]
    return [_finished(answered, technique.many), run, stop, download, *shown]


def _shown(technique: Technique, name: str, result: Result | None, answered: Answered) -> str:
    """What stands in the place of the panel of this name."""
    if result is None:
        return ""
    if isinstance(result, Browser) and is_large(result):
        return browser_html(result, answered, name)
    return panel(_title(technique, name), result, answered.sample)


def _title(technique: Technique, panel: str) -> str:
    """What stands above a panel: the technique's title for its own, that of another technique for one named after it."""
    named = technique if panel == "result" else TECHNIQUES.get(panel)
    return named.title if named else panel.replace("_", " ").capitalize()
