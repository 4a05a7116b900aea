"""Sending pictures on: from wherever one is shown to every technique that can take it, alone or with the picture it was made
from, at full precision; and the way back, to the technique one came from, with its pictures and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from techniques.base import Browser, Gallery, Picture, Sample, Samples, Scatter, Technique
from techniques.base.pairs import compares
from techniques.base.pictures import ReadPicture
from techniques.base.results import Result, panels
from ui.browsing import cell_at
from ui.choosing import shown
from ui.events import LIGHT, told
from ui.files import png_bytes
from ui.pairing import PairBox, build_pair_box, pair_values
from ui.panels import data_url
from ui.session import Place, Session
from ui.tray import tray_items

if TYPE_CHECKING:
    from ui.technique_tab import TechniqueTab
    from ui.wiring import Page

THUMBNAIL = 80  # pixels, shown half as large
NO_LONGER = "This picture is no longer kept. Please run the technique again, or choose the picture anew."
# one component hears of all pictures: an event for each would make the page slow
FORWARD = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-step]');
  if (button) trigger('step', {way: button.dataset.step});
});
document.addEventListener('sent', (event) => trigger('send', event.detail));"""


@dataclass(frozen=True)
class Trail:
    """The line that says what was sent on, with the ways back and forward; the pair, where there is one; and, unseen, what a
    picture may be sent to."""

    line: gr.HTML
    pair: PairBox
    choices: gr.HTML


def build_trail() -> Trail:
    line = gr.HTML("", elem_id="trail", js_on_load=FORWARD)
    return Trail(line, build_pair_box(), gr.HTML("", elem_id="send-choices"))


def send_choices(reasons: list[tuple[Technique, str | None]]) -> str:
    """The techniques by family, as the lists under all pictures offer them, with the reasons why some do not fit the model; the
    tabs of these are greyed out."""
    families: dict[str, list[str]] = {}
    for technique, reason in reasons:
        families.setdefault(technique.family, []).append(_choice(technique, reason))
    groups = (f"<optgroup label='{escape(family)}'>{''.join(options)}</optgroup>" for family, options in families.items())
    unfit = ", ".join(f"#tab-{technique.name}-button" for technique, reason in reasons if reason)
    style = f"<style>{unfit} {{ opacity: 0.45; }}</style>" if unfit else ""
    return f"{style}<loupe-choices><select hidden>{''.join(groups)}</select></loupe-choices>"


def _choice(technique: Technique, reason: str | None) -> str:
    """A technique takes a picture, which is added to the set where it works on one, and a pair where it can compare."""
    kinds = "data-picture data-pair" if technique.many or compares(technique) else "data-picture"
    unfit = f" disabled title='Not for this model: {escape(reason)}'" if reason else ""
    return f"<option value='{technique.name}' {kinds}{unfit}>{escape(technique.title)}{' · not for this model' if reason else ''}</option>"


def picture_at(result: Result | None, path: Any, item: Any) -> tuple[Picture, str] | None:
    """The picture that the page calls by the path of a browser's cell and the place in a gallery, with its name; None if there is none."""
    cell = cell_at(result, path)
    name, result = ", ".join(path) if cell is not None and isinstance(result, Browser) else "", cell
    if isinstance(result, Gallery):
        if not isinstance(item, int) or not 0 <= item < len(result.items):
            return None
        name, result = ", ".join(filter(None, (name, result.names[item]))), result.items[item]
    return (result, name) if isinstance(result, Picture) and not result.signed else None


def wire_sending(page: Page) -> None:
    """Connect every picture's lists, the ways back and forward, and the switch of the pair."""
    header, trail = page.header, page.trail
    arriving = [
        header.picture, header.origin, header.changed, trail.line, *trail.pair.outputs, page.families, *page.groups.values(),
        page.tray.gallery,
    ]  # fmt: skip
    options = {"show_progress_on": header.origin, "trigger_mode": "multiple", **LIGHT}
    trail.line.send(_send(page), header.session, arriving, **options)
    trail.line.step(_step(page), header.session, [*arriving, *(part for tab in page.tabs for part in tab.outputs)], **options)
    trail.pair.switch.input(partial(_compare, page), [header.session, trail.pair.switch], None, trigger_mode="always_last", **LIGHT)


def _compare(page: Page, session_id: str, both: bool) -> None:
    """Remember the switch, for the way back."""
    page.session(session_id).comparing = bool(both)


def _send(page: Page) -> Callable[[str, gr.EventData], dict]:
    """The handler for every picture of the page: make it the current picture, or with its original a pair, and go to a technique."""
    places = {html.elem_id: (tab, panel) for tab in page.tabs for panel, html in tab.panels.items()}

    def send(session_id: str, event: gr.EventData) -> dict:
        session, told = page.session(session_id), event._data
        destination, place = page.tab(told.get("technique")), str(told.get("place"))
        left, _ = places.get(place, (page.tab(told.get("within")), None))
        of_set = _of_set(session, told) if place == page.tray.gallery.elem_id else None
        found = _of_answer(session, *places[place], told) if place in places else of_set
        if found is None or left is None or destination is None:
            raise gr.Error(NO_LONGER, print_exception=False)
        session.leave(left.technique.name)
        session.send(*found, destination.technique, together=told.get("what") == "pair")
        return _arrival(page, session)

    return send


def _of_set(session: Session, told: dict) -> tuple[ReadPicture | Sample, None] | None:
    """The picture of the set that the page calls by its number."""
    return next(((picture, None) for picture in session.pictures if session.wall.thumbnail(picture).number == told.get("item")), None)


def _of_answer(session: Session, tab: TechniqueTab, panel: str, told: dict) -> tuple[ReadPicture | Sample, Sample | None] | None:
    """The picture in a panel of the last answer, at full precision, and the one it was made from where there is one."""
    answered = session.answers.get(tab.technique.name)
    result = panels(answered.answer).get(panel) if answered else None
    if isinstance(result, Scatter) and isinstance(answered.sample, Samples):
        return _of_points(answered.sample, told.get("item"))
    found = picture_at(result, told.get("path"), told.get("item"))
    if found is None:
        return None
    picture, name = found
    sent = Sample.from_pixels(picture.values, picture.label or f"{tab.technique.title}, {name or panel.replace('_', ' ')}")
    return sent, answered.sample if isinstance(answered.sample, Sample) else None


def _of_points(samples: Samples, item: Any) -> tuple[ReadPicture | Sample, None] | None:
    """The picture of the set that a point of a map stands for, as it was given."""
    if not isinstance(item, int) or not 0 <= item < len(samples):
        return None
    found = samples.items[item]
    return (found if isinstance(found, Sample) else found.picture), None


def _step(page: Page) -> Callable[[str, gr.EventData], dict]:
    """The handler for the ways back to where something was sent from, and forward again, with what was to be seen there."""

    def step(session_id: str, event: gr.EventData) -> dict:
        session = page.session(session_id)
        place = session.step(back=event._data.get("way") != "ahead")
        if place is None:
            return {page.trail.line: trail_line(page, session)}
        restored = {}
        if place.answered and place.answered is not session.answers.get(place.technique):
            tab = page.tab(place.technique)
            page.sessions.keep(session, place.technique, place.answered)
            restored = dict(zip(tab.outputs, tab.fill(place.answered)))
            del restored[tab.run], restored[tab.stop]  # it may be running
        return {**_arrival(page, session), **restored}

    return step


def _arrival(page: Page, session: Session) -> dict:
    """What changes on the page when the visitor comes to the technique `session.at`, with the pictures of the session."""
    header, technique = page.header, page.tab(session.at).technique
    picture, origin = shown(session)
    return {
        header.picture: picture,
        header.origin: origin,
        page.trail.line: trail_line(page, session),
        page.families: gr.Tabs(selected=technique.family),
        page.groups[technique.family]: gr.Tabs(selected=technique.name),
        page.tray.gallery: tray_items(session),
        **dict(zip(page.trail.pair.outputs, pair_values(session, session.current_pair))),
        page.header.changed: told(scroll="trail"),
    }


def trail_line(page: Page, session: Session) -> str:
    """What is at hand now, and the ways back and forward; empty when nothing was sent yet."""
    if not session.behind and not session.ahead:
        return ""
    ways = [_way(page, "back", "← Back to", places[-1]) for places in (session.behind,) if places]
    ways += [_way(page, "ahead", "→ Forward to", places[-1]) for places in (session.ahead,) if places]
    picture = session.picture
    at_hand = f"<img src='{_thumbnail(picture.image)}' alt=''><span>{escape(picture.origin)}</span>" if picture else ""
    return f"<div class='lp-trail'>{at_hand}{''.join(ways)}</div>"


def _thumbnail(image: Image.Image) -> str:
    small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return data_url(png_bytes(small))


def _way(page: Page, way: str, words: str, place: Place) -> str:
    of = f" · {escape(place.picture.origin)}" if place.picture else ""
    return f"<button type='button' data-step='{way}'>{words} {escape(page.tab(place.technique).technique.title)}<span>{of}</span></button>"
