"""One run of a technique: its progress, its Stop, its deadline and its first pictures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import copy, deepcopy
from typing import Any, TypeVar

from model_zoo.errors import Cancelled, OutOfTime
from techniques.base.results import to_numpy

Item = TypeVar("Item")


class Run:
    """Handed to every technique; the technique reports through it and is stopped through it.

    `report(fraction, text)` is called with progress in [0, 1]; `show(result)` with an answer that is not
    finished yet, at most once in `pause` seconds; `stop` is set by whoever wants the run to end; `seconds` is the time it
    may take.
    """

    def __init__(
        self,
        *,
        report: Callable[[float, str], None] | None = None,
        show: Callable[[Any], None] | None = None,
        pause: float = 0.0,
        stop: threading.Event | None = None,
        seconds: float | None = None,
    ):
        self._report = report or (lambda fraction, text: None)
        self._show = show
        self._pause = pause
        self._due = 0.0  # when the next answer may be shown, but for the one that may come too early
        self._stop = stop or threading.Event()
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def check(self) -> None:
        """Raise Cancelled when Stop was pressed, OutOfTime when the deadline has passed."""
        if self._stop.is_set():
            raise Cancelled
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise OutOfTime(f"This took longer than the {self._seconds:g} s allowed here and was stopped. Choose fewer steps or a smaller model.")

    @contextmanager
    def holding(self, lock: threading.RLock) -> Iterator[None]:
        """Hold a lock; while others have it, listen for Stop and the deadline."""
        while not lock.acquire(timeout=0.1):
            self.check()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def holding_beside(self, own: threading.RLock, *others: threading.RLock) -> Iterator[None]:
        """Hold `others` while `own` is held, all of them or none. While somebody has one of them, all are let go of now and then, `own` too,
        however often it is held: two runs on two models that each want the other's would wait for ever."""
        pause, wanted = threading.Condition(own), [lock for lock in dict.fromkeys(others) if lock is not own]
        while True:
            with ExitStack() as held:
                if all(_taken(lock, held) for lock in wanted):
                    yield
                    return
            self.check()
            pause.wait(0.05)

    def report(self, fraction: float, text: str) -> None:
        """Tell whoever watches how far the work is: `fraction` in [0, 1] and what is being done."""
        self._report(fraction, text)

    def steps(self, items: int | Iterable[Item], label: str) -> Iterator[Item]:
        """Iterate, reporting progress and checking for Stop before every step. An int counts from 0."""
        items = range(items) if isinstance(items, int) else list(items)
        for number, item in enumerate(items):
            self.check()
            self.report(number / len(items), f"{label} {number + 1} of {len(items)}")
            yield item
        self.report(1.0, label)

    def part(self, number: int, count: int, label: str) -> Run:
        """One of `count` parts, counted from 0, for a technique that is run several times: it fills its share of the progress,
        listens to the same Stop and deadline, and shows nothing that is not finished."""
        part = copy(self)
        part._report = lambda fraction, text: self._report((number + fraction) / count, f"{label}: {text}" if text else label)
        part._show = None
        return part

    def guard(self, function: Callable) -> Callable:
        """`function` with a check for Stop before every call: a way into a library's own loop."""

        def guarded(*args, **kwargs):
            self.check()
            return function(*args, **kwargs)

        return guarded

    def show(self, make: Callable[[], Any]) -> None:
        """Show an answer that is not finished, with arrays of its own; may be called at every step. `make` is called only when
        somebody watches, and with a `pause` only when it is time for the next: the first two may follow each other at once,
        since some techniques have a part of their answer before the first step; then making them takes about half of the time at the most."""
        start = time.monotonic()
        if not self._show or start < self._due - self._pause:
            return
        self._show(deepcopy(to_numpy(make())))  # the technique may go on writing into what it has shown
        if self._pause:
            self._due = max(self._due, start) + max(self._pause, 2 * (time.monotonic() - start))


def _taken(lock: threading.RLock, held: ExitStack) -> bool:
    """Whether a lock could be had soon; it is `held` then."""
    taken = lock.acquire(timeout=0.1)
    if taken:
        held.callback(lock.release)
    return taken
