"""Showing a view: its technique opened with its settings, its model and pictures chosen, and the technique run once.

A view comes from the address line or from a step of a walk. A model that has to be downloaded first is offered with its
size, never fetched by an address; a picture or a model of the visitor's own is asked for again, and the rest waits.
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

import model_zoo
from model_zoo import uploads
from model_zoo.cache import gigabytes
from model_zoo.errors import AppError, ModelLoadError
from model_zoo.loaded import LoadedModel
from techniques.base.pairs import compares
from ui.address import OWN, picture_hash, read, write
from ui.events import told
from ui.session import Session

if TYPE_CHECKING:
    from techniques.base import Technique
    from ui.address import View
    from ui.wiring import Page
MOST_SAID = 8  # faults of one address


def begin(page: Page, session: Session, query: list[tuple[str, str]]) -> None:
    """Read the address with which a page was opened."""
    session.view = read(query, {tab.technique.name: tab.technique for tab in page.tabs})
    session.quiet = session.view == type(session.view)()
    session.framing = session.view.framing or session.framing
    place_pictures(page, session)


def opened(page: Page) -> list:
    """The components that `open_view` has values for."""
    controls = [control for tab in page.tabs for control in tab.controls]
    return [page.families, *page.groups.values(), page.header.seed, page.header.framing, *controls]


def open_view(page: Page, view: View) -> list:
    """The view's technique opened, with the view's settings in its controls."""
    tab = page.tab(view.technique)
    technique = tab.technique if tab else None
    family = technique.family if technique else None
    values = [gr.Tabs(selected=family) if family else gr.skip()]
    values += [gr.Tabs(selected=technique.name) if name == family else gr.skip() for name in page.groups]
    values += [gr.skip() if view.seed is None else view.seed, view.framing or gr.skip()]
    for tab in page.tabs:
        names = [param.name for param in tab.technique.own_params if param.kind != "mask"]
        values += [_value(view.settings.get((tab.technique.name, name), gr.skip())) for name in names]
    return values


def _value(setting: Any) -> Any:
    """A setting as its control takes it; several names come as a tuple."""
    return list(setting) if isinstance(setting, tuple) else setting


def wanted_model(session: Session, default: str) -> str:
    """The key of the model to load for the session's view, or the one that is there while the other one is offered."""
    view = session.view
    if view is None or view.model in ("", OWN, session.model_key):
        return session.model_key
    try:
        size = model_zoo.needs_download(view.model)
    except ModelLoadError as error:
        session.view = replace(view, model="", faults=(*view.faults, str(error)))
        return default
    if size is None:
        return view.model
    session.view = replace(view, offered=(view.model, size))
    return session.model_key


def place_pictures(page: Page, session: Session) -> None:
    """Make the pictures of the view the current ones, for a technique on a set the set."""
    view = session.view
    pictures = list(view.brought) or view.samples if view else []
    tab = page.tab(view.technique) if view else None
    if tab and tab.technique.many and pictures:
        session.pictures = pictures
    elif pictures:
        pair = tuple(pictures) if len(pictures) == 2 and tab and compares(tab.technique) else None
        session.picture, session.pair, session.comparing = pictures[-1] if pair else pictures[0], pair, bool(pair)


def arrived(page: Page) -> list:
    """The components that `arrive` has values for."""
    header = page.header
    return [header.target, header.layer, header.notice, header.address]


def arrive(page: Page, session_id: str) -> list:
    """Once model and picture are there: class and layer, what has to be said about the address, and a run of the technique."""
    session = page.session(session_id)
    view = session.view
    if view is None:
        return [gr.skip(), gr.skip(), "", gr.skip()]
    if view.offered and view.offered[0] == session.model_key:
        view = replace(view, offered=None)
    here = {picture_hash(picture) for picture in (session.picture, *session.pictures) if picture is not None and view.missing}
    missing = [name for name in view.missing if name not in here]
    own = view.model == OWN and not uploads.token_of(session.model_key)
    waiting = bool(view.offered or missing or own)
    target = layer = gr.skip()
    if not (view.offered or own):
        view, target, layer = _in_model(view, session)
    said = _said(view, missing, own, session)
    session.view = replace(view, faults=(), asked=True) if waiting else None
    if waiting:
        return [target, layer, said, ""]
    step_of_a_walk = {"scroll": "walk"} if view.brought else {}
    return [target, layer, said, told(press=view.technique or page.tabs[0].technique.name, **step_of_a_walk)]


def _in_model(view: View, session: Session) -> tuple:
    """Class and layer of the view as the model calls them; one that it does not have is a fault of the view."""
    faults, found = list(view.faults), []
    try:
        model = model_zoo.load(session.model_key)
    except AppError:  # the page has said so
        return view, gr.skip(), gr.skip()
    for text, look_up in ((view.target, _class_of), (view.layer, _layer_of)):
        try:
            found.append(look_up(model, text) if text else gr.skip())
        except AppError as error:
            faults.append(str(error))
            found.append(gr.skip())
    return replace(view, faults=tuple(faults)), *found


def _class_of(model: LoadedModel, text: str) -> str:
    return model.label(model.find_label(text))


def _layer_of(model: LoadedModel, text: str) -> str:
    return model.layer(text).name


def _said(view: View, missing: list[str], own: bool, session: Session) -> str:
    """What has to be said about an address, as HTML; nothing when all of it could be shown."""
    lines = []
    if view.offered:
        key, size = view.offered
        much = f"{gigabytes(size)} to download" if size else "its size is known once it is chosen"
        lines.append(
            f"This address belongs to the model {escape(key)} ({much}). <button type='button' class='lp-fetch' data-fetch>Load it</button> "
            f"Meanwhile there is {escape(session.model_name)}."
        )
    if own:
        lines.append("This address belongs to a model of your own. Upload its weights again under “Your own model”.")
    for name in missing:
        another = f" “{escape(session.picture.origin)}” is another one." if view.asked and session.picture else ""
        lines.append(f"This address belongs to a picture of your own (sha256 {escape(name)}…). Choose it again.{another}")
    if view.asked and view.missing and not missing:
        lines.append("This is the picture that this address belongs to.")
    if view.faults:
        more = [f"… and {len(view.faults) - MOST_SAID} more."] if len(view.faults) > MOST_SAID else []
        items = "".join(f"<li>{escape(fault)}</li>" for fault in (*view.faults[:MOST_SAID], *more))
        lines.append(f"Left out of this address:<ul>{items}</ul>")
    return "".join(f"<div class='lp-said' role='status'>{line}</div>" for line in lines)


def tell(session: Session, technique: Technique) -> str:
    """The address of what has just been run. A page that opened with nothing in its address keeps that until somebody does something."""
    session.visited, quiet, session.quiet = technique.name, session.quiet, False
    return gr.skip() if quiet else told(query=write(session, technique))


def current_address(page: Page, session: Session) -> str:
    """The address after another model or picture has been chosen."""
    tab = page.tab(session.visited)
    session.quiet = session.quiet and session.view is not None  # from here on it is the visitor who chooses
    return told(query=write(session, tab.technique)) if tab and session.view is None else gr.skip()
