"""Runs work in a thread and tells about it: progress, first pictures, the answer or a sentence why not.

A generator may be closed at any of its yields, which is how Gradio says that the visitor pressed Stop or left; the
work's stop flag is set then, and `Run` ends it at its next step. `dispatch` is the one place where techniques are
run for the page and the API. On a ZeroGPU Space it is wrapped once and runs in a forked process: everything that
goes in and comes out can be pickled.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import model_zoo
from model_zoo.deferred import torch
from model_zoo.errors import AppError, Cancelled
from techniques import find
from techniques.base import Run, Sample, Samples, execute

HEARTBEAT = 0.25  # seconds between two yields at the most; Stop takes effect at a yield
log = logging.getLogger("loupe")


@dataclass(frozen=True)
class Progress:
    """How far the work is, in [0, 1], and what it is doing."""

    fraction: float
    text: str


@dataclass(frozen=True)
class Preview:
    """An answer that is not finished."""

    value: Any


@dataclass(frozen=True)
class Done:
    """The finished answer."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """A sentence for the visitor instead of an answer."""

    text: str


Event = Progress | Preview | Done | Failed


def in_worker(function: Callable[[Run], Any], seconds: float) -> Iterator[Event]:
    """Call `function(run)` in a thread; yield what happens, at least every `HEARTBEAT` seconds, Done or Failed last."""
    events: queue.Queue[Event] = queue.Queue()
    stop = threading.Event()
    run = Run(
        report=lambda fraction, text: events.put(Progress(fraction, text)),
        show=lambda value: events.put(Preview(value)),
        stop=stop,
        seconds=seconds,
    )

    def work() -> None:
        try:
            events.put(Done(function(run)))
        except Cancelled:
            events.put(Failed("Stopped."))
        except AppError as error:
            events.put(Failed(str(error)))
        except BaseException:  # whatever happens in here, the page must hear of it
            code = secrets.token_hex(3)
            log.exception("internal error %s", code)
            events.put(Failed(f"Internal error {code}: this is a mistake of ours, and it has been logged. Nothing of yours is lost."))

    threading.Thread(target=work, daemon=True).start()
    last: Event = Progress(0.0, "")
    try:
        while not isinstance(last, (Done, Failed)):
            try:
                latest = events.get(timeout=HEARTBEAT)
                while isinstance(latest, Progress) and not events.empty():
                    latest = events.get_nowait()
                last = latest
            except queue.Empty:
                last = last if isinstance(last, Progress) else Progress(0.0, "")
            yield last
    finally:
        stop.set()


def _seconds(_technique: str, _sample: Any, _model_key: str, _settings: dict, seconds: float) -> int:
    return int(seconds)


def dispatch(technique: str, sample: Sample | Samples, model_key: str, settings: dict[str, Any], seconds: float) -> Iterator[Event]:
    """Run a technique on a model by its key, on the GPU when there is one."""

    def work(run: Run) -> Any:
        model = model_zoo.load(model_key, run)
        with model.lock:
            model.network.to("cuda" if torch.cuda.is_available() else "cpu")
            return execute(find(technique), sample, model, settings, run)

    yield from in_worker(work, seconds)


if os.environ.get("SPACES_ZERO_GPU"):
    import spaces

    dispatch = spaces.GPU(duration=_seconds)(dispatch)
