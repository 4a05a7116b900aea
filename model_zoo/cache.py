"""Loaded models that are kept for the next visitor, in a bounded amount of memory."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from model_zoo.errors import ModelLoadError
from model_zoo.loaded import LoadedModel

WAIT = 0.1  # seconds between two looks whether another visitor has finished
PATIENCE = 60  # seconds to wait for memory


class ModelCache:
    """Models by key, bounded in bytes of weights; the least recently used goes first, never one that a run works with.

    Room is made before a model is built. What has left the cache and is still held somewhere counts until it is
    gone, and a model that finds no room waits a while for the runs of others. Safe between threads.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._alive: weakref.WeakSet[LoadedModel] = weakref.WeakSet()
        self._promised: dict[str, int] = {}
        self._guard = threading.Lock()
        self._gates: dict[str, threading.Lock] = {}

    def find(self, key: str) -> LoadedModel | None:
        with self._guard:
            if key in self._models:
                self._models.move_to_end(key)
            return self._models.get(key)

    def get(self, key: str, size: int, make: Callable[[], LoadedModel], check: Callable[[], None]) -> LoadedModel:
        """The model of this key with weights of `size` bytes, made at most once at a time.

        `check` may raise while another thread makes it, or while there is no room. Raises ModelLoadError, before
        `make` is called, when the model alone is larger than the limit, or no room was found in time.
        """
        if size > self.limit:
            raise ModelLoadError(f"{key} needs {gigabytes(size)} of memory; {gigabytes(self.limit)} are allowed here. Choose a smaller model.")
        with self._guard:
            gate = self._gates.setdefault(key, threading.Lock())
        _acquire(gate, check)
        try:
            return self.find(key) or self._build(key, size, make, check)
        finally:
            gate.release()

    def forget(self, start: str) -> None:
        """Let the models go whose keys start so; nobody may ask for them any more."""
        with self._guard:
            for kept in (self._models, self._gates):
                for key in [key for key in kept if key.startswith(start)]:
                    del kept[key]

    def bytes(self) -> int:
        """Weights in memory: of all models that are kept or still held by somebody, and of those being built."""
        return sum(model.bytes for model in set(self._alive)) + sum(self._promised.values())

    def renew_locks(self) -> None:
        """For a process that has just been forked: a lock that another thread held stays locked in it for ever, and what
        another thread was building is not finished."""
        self._guard, self._gates, self._promised = threading.Lock(), {}, {}
        self._models = OrderedDict((key, replace(model, lock=threading.RLock())) for key, model in self._models.items())
        self._alive = weakref.WeakSet(self._models.values())

    def clear(self) -> None:
        with self._guard:
            self._models.clear()

    def _build(self, key: str, size: int, make: Callable[[], LoadedModel], check: Callable[[], None]) -> LoadedModel:
        end = time.monotonic() + PATIENCE
        while not self._make_room(key, size):
            check()
            if time.monotonic() > end:
                raise ModelLoadError(f"There is no memory for {key} ({gigabytes(size)}) while others work with their models. Try again in a minute.")
            time.sleep(WAIT)
        try:
            model = make()
            with self._guard:
                self._models[key] = model
                self._alive.add(model)
            return model
        finally:
            with self._guard:
                self._promised.pop(key, None)

    def _make_room(self, key: str, size: int) -> bool:
        """Promise `size` bytes to `key`, if they are free once every idle model that has to has gone."""
        with self._guard:
            before = len(self._models)
            for old in list(self._models):
                if self.bytes() + size <= self.limit:
                    break
                if _idle(self._models[old]):
                    del self._models[old]
            if len(self._models) < before:
                _give_back_memory()
            if self.bytes() + size > self.limit:
                return False
            self._promised[key] = size
            return True


def gigabytes(count: int) -> str:
    """A count of bytes in gigabytes (10^9) or megabytes (10^6): "26.9 GB", "102 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _idle(model: LoadedModel) -> bool:
    """Whether no run holds the model's lock."""
    free = model.lock.acquire(blocking=False)
    if free:
        model.lock.release()
    return free


def _acquire(gate: threading.Lock, check: Callable[[], None]) -> None:
    while not gate.acquire(timeout=WAIT):
        check()


def _give_back_memory() -> None:
    """Collect what the network's own circles hold, and hand free memory back to the system, which glibc keeps otherwise."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
