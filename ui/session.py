"""What the server remembers of a visitor: the picture, the model, and the last answer of each technique.

The page holds only an unguessable id. Sessions end when the page closes, when they are the oldest of too many,
or, for the answers, when all answers together outgrow a fixed amount of memory.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model_zoo import uploads
from model_zoo.loaded import LoadedModel
from model_zoo.sources import CACHE
from model_zoo.uploads import Draft
from techniques.base import Sample, Samples
from techniques.base.pictures import ReadPicture
from techniques.base.results import all_arrays

SESSIONS = 500
ANSWER_BYTES = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Answered:
    """A technique's answer with what made it: enough to show, save and send it on.

    The model is named, not held: its weights would stay in memory as long as the page is open.
    """

    answer: Any
    sample: Sample | Samples
    model_key: str
    model_title: str
    settings: dict[str, Any]

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in all_arrays(self.answer).values())


@dataclass
class Session:
    """One open page."""

    id: str
    connection: str
    model_key: str
    model_name: str
    framing: str = "model"
    draft: Draft | None = None
    tokens: set[str] = field(default_factory=set)
    picture: ReadPicture | Sample | None = None
    pictures: list[ReadPicture | Sample] = field(default_factory=list)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    stops: dict[str, threading.Event] = field(default_factory=dict)

    def take(self, draft: Draft) -> None:
        """The visitor's newest weights; older ones go, but for those of the model in use."""
        self.draft = draft
        self.tokens.add(draft.token)
        self._discard(keep={draft.token, uploads.token_of(self.model_key)})

    def use(self, model: LoadedModel) -> None:
        """The model of the page from now on."""
        self.model_key = model.key
        self.model_name = model.title if uploads.token_of(model.key) else model.key

    def end(self) -> None:
        """The page has closed: nothing that the visitor brought along stays."""
        for stop in self.stops.values():
            stop.set()
        self._discard(keep=set())

    def _discard(self, keep: set[str | None]) -> None:
        for token in self.tokens - keep:
            CACHE.forget(f"upload/{token}/")
            uploads.discard(token)
        self.tokens &= keep

    def begin(self, work: str) -> threading.Event:
        """The flag by which `stop` ends the work of this name that begins now."""
        self.stops[work] = threading.Event()
        return self.stops[work]

    def stop(self, work: str) -> None:
        if work in self.stops:
            self.stops[work].set()

    def sample(self, model: LoadedModel) -> Sample:
        """The current picture for this model."""
        return _for_model(self.picture, model, self.framing)

    def samples(self, model: LoadedModel) -> Samples:
        """The picture set for this model."""
        return Samples(tuple(_for_model(picture, model, self.framing) for picture in self.pictures))


def _for_model(picture: ReadPicture | Sample, model: LoadedModel, framing: str) -> Sample:
    if isinstance(picture, Sample):
        return replace(picture, framing=framing).fit(model)
    return Sample.from_image(picture.image, model, picture.origin, picture.notes, framing)


class Sessions:
    """All open pages, least recently used first."""

    def __init__(self, default_model: str):
        self.default_model = default_model
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, connection: str) -> Session:
        """A session for one open page; `connection` is gradio's name for it, `id` is ours and cannot be guessed."""
        session = Session(secrets.token_urlsafe(16), connection, self.default_model, self.default_model)
        with self._lock:
            self._sessions[session.id] = session
            ended = [self._sessions.popitem(last=False)[1] for _ in range(len(self._sessions) - SESSIONS)]
        for other in ended:
            other.end()
        return session

    def find(self, session_id: str) -> Session | None:
        with self._lock:
            if session_id in self._sessions:
                self._sessions.move_to_end(session_id)
            return self._sessions.get(session_id)

    def leave(self, connection: str) -> None:
        """Forget the session of a page that was closed."""
        with self._lock:
            ended = [session for session in self._sessions.values() if session.connection == connection]
            for session in ended:
                del self._sessions[session.id]
        for session in ended:
            session.end()

    def keep(self, session: Session, technique: str, answered: Answered) -> None:
        """Remember an answer; the oldest pages' answers go when all together take too much memory."""
        session.answers[technique] = answered
        with self._lock:
            total = sum(a.bytes for s in self._sessions.values() for a in s.answers.values())
            for other in self._sessions.values():
                if total <= ANSWER_BYTES:
                    return
                if other is not session:
                    total -= sum(a.bytes for a in other.answers.values())
                    other.answers.clear()
