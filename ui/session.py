"""What the server remembers of a visitor: the picture, the model, and the last answer of each technique.

The page holds only an unguessable id. Sessions end when the page closes, when they are the oldest of too many,
or, for the answers, when all answers together outgrow a fixed amount of memory.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model_zoo.loaded import LoadedModel
from techniques.base import Sample, Samples
from techniques.base.pictures import ReadPicture
from techniques.base.results import all_arrays

SESSIONS = 500
ANSWER_BYTES = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Answered:
    """A technique's answer with everything that made it: enough to show, save and send it on."""

    answer: Any
    sample: Sample | Samples
    model: LoadedModel
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
    picture: ReadPicture | Sample | None = None
    pictures: list[ReadPicture | Sample] = field(default_factory=list)
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    stops: dict[str, threading.Event] = field(default_factory=dict)

    def begin(self, work: str) -> threading.Event:
        """The flag by which `stop` ends the work of this name that begins now."""
        self.stops[work] = threading.Event()
        return self.stops[work]

    def stop(self, work: str) -> None:
        if work in self.stops:
            self.stops[work].set()

    def sample(self, model: LoadedModel) -> Sample:
        """The current picture for this model."""
        return _for_model(self.picture, model)

    def samples(self, model: LoadedModel) -> Samples:
        """The picture set for this model."""
        return Samples(tuple(_for_model(picture, model) for picture in self.pictures))


def _for_model(picture: ReadPicture | Sample, model: LoadedModel) -> Sample:
    if isinstance(picture, Sample):
        return picture.fit(model)
    return Sample.from_image(picture.image, model, picture.origin, picture.notes)


class Sessions:
    """All open pages, least recently used first."""

    def __init__(self, default_model: str):
        self.default_model = default_model
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def create(self, connection: str) -> Session:
        """A session for one open page; `connection` is gradio's name for it, `id` is ours and cannot be guessed."""
        session = Session(secrets.token_urlsafe(16), connection, self.default_model)
        with self._lock:
            self._sessions[session.id] = session
            while len(self._sessions) > SESSIONS:
                self._sessions.popitem(last=False)
        return session

    def find(self, session_id: str) -> Session | None:
        with self._lock:
            if session_id in self._sessions:
                self._sessions.move_to_end(session_id)
            return self._sessions.get(session_id)

    def leave(self, connection: str) -> None:
        """Forget the session of a page that was closed."""
        with self._lock:
            for session in [s for s in self._sessions.values() if s.connection == connection]:
                del self._sessions[session.id]

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
