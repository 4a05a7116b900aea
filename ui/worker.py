"""Runs work in a thread and tells about it: progress, first pictures, the answer or a sentence why not.

A generator may be closed at any of its yields, which is how Gradio says that the visitor left; the work's stop flag is
set then, and `Run` ends it at its next step. `until` closes it when Stop is pressed. `dispatch` is the one place where
techniques are run for the page and the API. On a ZeroGPU Space it is wrapped once and runs in a forked process: everything that
goes in and comes out can be pickled.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import Any

import gradio as gr

import model_zoo
from model_zoo.deferred import torch
from model_zoo.errors import AppError, Cancelled
from model_zoo.sources import CACHE
from techniques import find
from techniques.base import Run, Sample, Samples
from techniques.base.pairs import execute_on
from techniques.trust import trust_in

HEARTBEAT = 0.25  # seconds between two yields at the most; Stop takes effect at a yield
SHOWN_EVERY = 0.25  # seconds between two answers that are not finished, at the least
OWN = "own settings of the method"  # among the settings of the technique that measures the map of another
START_SECONDS = 5  # what a forked process may take before its run's own clock starts
log = logging.getLogger("loupe")


@dataclass(frozen=True)
class Progress:
    """How far the work is, in [0, 1], and what it is doing."""

    fraction: float
    text: str


@dataclass(frozen=True)
class Preview:
    """An answer that is not finished, and what the work was doing when it came."""

    value: Any
    text: str = ""


@dataclass(frozen=True)
class Done:
    """The finished answer."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """A sentence for the visitor instead of an answer."""

    text: str


@dataclass(frozen=True)
class Stopped:
    """The visitor pressed Stop."""


Event = Progress | Preview | Done | Failed | Stopped


def in_worker(function: Callable[[Run], Any], seconds: float) -> Iterator[Event]:
    """Call `function(run)` in a thread; yield what happens, at least every `HEARTBEAT` seconds, Done, Failed or Stopped last."""
    events: queue.Queue[Event] = queue.Queue()
    stop = threading.Event()
    doing = ""

    def report(fraction: float, text: str) -> None:
        nonlocal doing
        doing = text
        events.put(Progress(fraction, text))

    run = Run(report=report, show=lambda value: events.put(Preview(value, doing)), pause=SHOWN_EVERY, stop=stop, seconds=seconds)

    def work() -> None:
        try:
            events.put(Done(function(run)))
        except Cancelled:
            events.put(Stopped())
        except AppError as error:
            events.put(Failed(str(error)))
        except BaseException:  # whatever happens in here, the page must hear of it
            events.put(_internal_error())

    threading.Thread(target=work, daemon=True).start()
    last: Event = Progress(0.0, "")
    known = last
    try:
        while not isinstance(last, (Done, Failed, Stopped)):
            for last in _waiting(events) or [known]:
                known = last if isinstance(last, Progress) else known
                yield last
    finally:
        stop.set()


def _waiting(events: queue.Queue[Event]) -> list[Event]:
    """What has happened, of each kind the latest: a slow reader is not told what is old. Empty when nothing happens within `HEARTBEAT`."""
    newest: dict[type, Event] = {}
    with suppress(queue.Empty):
        event = events.get(timeout=HEARTBEAT)
        while True:
            newest[type(event)] = event
            event = events.get_nowait()
    return list(newest.values())


def until(stop: threading.Event, events: Iterator[Event]) -> Iterator[Event]:
    """The events of some work until `stop` is set; then the work is ended, and Stopped is the last event.

    Gradio's own `cancels` is not used: an update on its way may arrive after what the press on Stop has shown.
    """
    for event in events:
        if stop.is_set():
            events.close()
            yield Stopped()
            return
        yield event


def _internal_error() -> Failed:
    """The sentence for the exception being handled, which is logged whole under the code that the sentence names."""
    code = secrets.token_hex(3)
    log.exception("internal error %s", code)
    return Failed(f"Internal error {code}: this is a mistake of ours, and it has been logged. Nothing of yours is lost.")


def dispatch(technique: str, sample: Sample | Samples, model_key: str, settings: dict[str, Any], seconds: float) -> Iterator[Event]:
    """Run a technique on a model by its key, on the GPU when there is one. With settings under OWN it is the trust in the map of
    another technique with these settings."""
    given = {name: value for name, value in settings.items() if name != OWN}

    def work(run: Run) -> Any:
        chosen = trust_in(settings[OWN]) if OWN in settings else find(technique)
        model = model_zoo.load(model_key, run)
        with run.holding(model.lock):
            model.network.to("cuda" if torch.cuda.is_available() else "cpu")
            return execute_on(chosen, sample, model, given, run)

    yield from in_worker(work, seconds)


def _on_zero_gpu(run: Callable[..., Iterator[Event]]) -> Callable[..., Iterator[Event]]:
    """`dispatch` on a ZeroGPU Space, where each run borrows a GPU and happens in a forked process.

    The pictures go there as bytes: a tensor would be moved into shared memory for good, and a container has little
    of it. What the platform says (no GPU free, quota used up) becomes Failed like every other fault.
    """
    import spaces

    os.register_at_fork(after_in_child=CACHE.renew_locks)

    def borrowed_seconds(_technique: str, _sample: bytes, _model_key: str, _settings: dict, seconds: float) -> int:
        return int(seconds) + START_SECONDS

    @spaces.GPU(duration=borrowed_seconds)
    def forked(technique: str, sample: bytes, model_key: str, settings: dict[str, Any], seconds: float) -> Iterator[Event]:
        yield from run(technique, pickle.loads(sample), model_key, settings, seconds)

    @wraps(run)
    def dispatch(technique: str, sample: Sample | Samples, model_key: str, settings: dict[str, Any], seconds: float) -> Iterator[Event]:
        try:
            yield from forked(technique, pickle.dumps(sample), model_key, settings, seconds)
        except gr.Error as error:
            yield Failed(f"{error.title}: {str(error.message).strip().rstrip('.')}.")
        except Exception:
            yield _internal_error()

    return dispatch


if os.environ.get("SPACES_ZERO_GPU"):
    dispatch = _on_zero_gpu(dispatch)
