"""What the server remembers of a visitor: the picture, the model, and the last answer of each technique.

The page holds only an unguessable id. Sessions end when the page closes, when they are the oldest of too many,
or, for the answers, when all answers together outgrow a fixed amount of memory.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from model_zoo import uploads
from model_zoo.deferred import torch
from model_zoo.errors import UploadError
from model_zoo.loaded import LoadedModel
from model_zoo.sources import CACHE
from model_zoo.uploads import Draft
from techniques.base import Sample, Samples, Technique
from techniques.base.picture_sets import MOST, size_of
from techniques.base.pictures import ReadPicture
from techniques.base.results import all_arrays
from ui.thumbnails import Wall

if TYPE_CHECKING:
    from ui.address import View

SESSIONS = 500
ANSWER_BYTES = 1_000_000_000
PICTURE_BYTES = 2_000_000_000  # that the sets of all pages may hold
STEPS = 20  # so many steps of sending pictures on can be taken back


@dataclass(frozen=True, eq=False)
class Answered:
    """A technique's answer with what made it: enough to show, save and send it on.

    The model is named, not held: its weights would stay in memory as long as the page is open. `opened` is a line about the
    file that the answer was read from; such a one has neither pictures nor a model. `unfinished` says what the run was doing
    when this came of it, where that was not its end ("PGD step 12 of 50"). `seconds` is how long the run had taken by then.
    `at` is where the visitor stands in its large browsers, by panel: the outer place and the number of the inner one, from 1.
    """

    answer: Any
    sample: Sample | Samples
    model_key: str
    model_title: str
    settings: dict[str, Any]
    opened: str = ""
    unfinished: str = ""
    seconds: float = 0.0
    at: dict[str, tuple[str | None, int]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(array.nbytes for array in all_arrays(self.answer).values())


@dataclass(frozen=True, eq=False)
class Place:
    """Where a visitor was: at a technique with its answer, a picture, perhaps a pair, and the set of pictures."""

    technique: str
    picture: ReadPicture | Sample | None
    pair: tuple[Sample, Sample] | None
    comparing: bool
    pictures: tuple[ReadPicture | Sample, ...]
    answered: Answered | None


@dataclass
class Session:
    """One open page.

    `pair` is a picture with the one it was made from, (before, after), of which the second was sent on; `comparing` says
    whether techniques are run on both. `at` is the technique that something was sent to last, `behind` and `ahead` are the
    places to go back and forward to, the nearest last. `painted` are the areas painted over each of the last pictures, the
    current one last. `view` is what the page is about to show, `visited` the technique that was run last; `quiet` says that
    the address is to stay empty until the visitor does something. `walk` is the experiment in progress: its name, the step
    (from 0), and whether it has been told what is to be seen there; `walked` are the pictures of that step.
    """

    id: str
    connection: str
    model_key: str
    model_name: str
    framing: str = "model"
    draft: Draft | None = None
    tokens: set[str] = field(default_factory=set)
    picture: ReadPicture | Sample | None = None
    pictures: list[ReadPicture | Sample] = field(default_factory=list)
    painted: dict[str, dict[str, list[np.ndarray]]] = field(default_factory=lambda: {"": {}})
    answers: dict[str, Answered] = field(default_factory=dict)
    stops: dict[str, threading.Event] = field(default_factory=dict)
    wall: Wall = field(default_factory=Wall)
    view: View | None = None
    visited: str = ""
    walk: tuple[str, int, bool] | None = None
    walked: tuple[ReadPicture | Sample, ...] = ()
    quiet: bool = False
    pair: tuple[Sample, Sample] | None = None
    comparing: bool = False
    at: str = ""
    behind: list[Place] = field(default_factory=list)
    ahead: list[Place] = field(default_factory=list)

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

    @property
    def masks(self) -> dict[str, list[np.ndarray]]:
        """The areas painted over the picture under the brushes, by technique."""
        return next(reversed(self.painted.values()))

    def paint_on(self, sample: Sample) -> None:
        """The picture under the brushes from now on. What was painted over it before is there again, as on the page, where
        it is one of the last few."""
        self.painted[sample.sha256] = self.painted.pop(sample.sha256, {})
        for oldest in list(self.painted)[:-STEPS]:
            del self.painted[oldest]

    def sample(self, model: LoadedModel) -> Sample:
        """The current picture for this model."""
        return _for_model(self.picture, model, self.framing)

    @property
    def current_pair(self) -> tuple[Sample, Sample] | None:
        """The pair, as long as its second picture is the current one."""
        return self.pair if self.pair and self.pair[1] is self.picture else None

    def both(self, model: LoadedModel) -> Samples:
        """The current pair for this model."""
        return Samples(tuple(_for_model(picture, model, self.framing) for picture in self.current_pair or ()))

    def place(self, technique: str) -> Place:
        """Where the visitor is now, at this technique."""
        return Place(technique, self.picture, self.pair, self.comparing, tuple(self.pictures), self.answers.get(technique))

    def leave(self, technique: str) -> None:
        """Remember where the visitor is, before something is sent on from this technique."""
        self.behind = [*self.behind, self.place(technique)][-STEPS:]
        self.ahead.clear()

    def send(self, sent: ReadPicture | Sample, original: Sample | None, technique: Technique, together: bool) -> None:
        """Make a picture the current one; with the one it was made from it is a pair, compared or put into the set when sent `together`.

        For a technique on a set, a picture sent alone is added to it. The original that is sent itself is no pair.
        """
        if original is not None and torch.equal(sent.pixels, original.pixels):
            sent, original = original, None
        self.picture, self.at = sent, technique.name
        self.pair = (replace(original, exact=True), sent) if original else None
        self.comparing = together and self.pair is not None
        if technique.many:
            self.pictures = list(self.pair) if self.pair and together else [*self.pictures, sent][:MOST]

    def step(self, back: bool) -> Place | None:
        """Go one step back, or forward again: the pictures of that place are the current ones. None where there is no such step."""
        come, go = (self.behind, self.ahead) if back else (self.ahead, self.behind)
        if not come:
            return None
        place = come.pop()
        go.append(self.place(self.at))
        self.picture, self.pair, self.comparing, self.pictures = place.picture, place.pair, place.comparing, list(place.pictures or self.pictures)
        self.at = place.technique
        return place

    @property
    def held(self) -> list[Answered]:
        """Every answer that is kept, each once."""
        answers = [*self.answers.values(), *(place.answered for place in (*self.behind, *self.ahead) if place.answered)]
        return list({id(answered): answered for answered in answers}.values())

    @property
    def bytes(self) -> int:
        """Memory of all pictures of the set, and of the sets to go back to."""
        pictures = [*self.pictures, *(picture for place in (*self.behind, *self.ahead) for picture in place.pictures)]
        return sum(map(size_of, {id(picture): picture for picture in pictures}.values()))

    def forget_steps(self) -> None:
        """Let go of the answers and sets to go back to; the pictures themselves stay."""
        self.behind, self.ahead = ([replace(place, answered=None, pictures=()) for place in places] for places in (self.behind, self.ahead))

    def samples(self, model: LoadedModel) -> Samples:
        """The picture set for this model."""
        pictures = [replace(picture, framing=self.framing) if isinstance(picture, Sample) else picture for picture in self.pictures]
        return Samples.of(pictures, model, self.framing)


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

    def add(self, session: Session, pictures: Sequence[ReadPicture]) -> None:
        """Put pictures into a visitor's set; UploadError, and the set stays, when there would be too many or no room is left."""
        with self._lock:
            if len(session.pictures) + len(pictures) > MOST:
                raise UploadError(f"A set holds at most {MOST:,} pictures. Take some out first, or add fewer.")
            room = PICTURE_BYTES - sum(map(size_of, pictures))
            if sum(other.bytes for other in self._sessions.values()) > room:
                for other in self._sessions.values():
                    other.forget_steps()
            if sum(other.bytes for other in self._sessions.values()) > room:
                raise UploadError("This server holds too many pictures of its visitors at the moment. Add fewer, or try again later.")
            session.pictures.extend(pictures)

    def keep(self, session: Session, technique: str, answered: Answered) -> None:
        """Remember an answer, in which the visitor stands where they stood in the one before; the oldest pages' answers go when all together take
        too much memory."""
        before = session.answers.get(technique)
        answered.at.update(before.at if before else {})
        session.answers[technique] = answered
        with self._lock:
            total = sum(answered.bytes for other in self._sessions.values() for answered in other.held)
            for other in self._sessions.values():
                if total <= ANSWER_BYTES:
                    return
                if other is not session:
                    total -= sum(answered.bytes for answered in other.held)
                    other.answers.clear()
                    other.forget_steps()
            if total > ANSWER_BYTES:
                session.forget_steps()
