"""Loaded models that are kept for the next visitor."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from model_zoo.loaded import LoadedModel


class ModelCache:
    """Models by key, bounded in bytes of weights; the least recently used goes first.

    Safe between threads. A model that somebody still works with lives on until they are done with it.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._guard = threading.Lock()
        self._gates: dict[str, threading.Lock] = {}

    def find(self, key: str) -> LoadedModel | None:
        with self._guard:
            if key in self._models:
                self._models.move_to_end(key)
            return self._models.get(key)

    def get(self, key: str, make: Callable[[], LoadedModel], check: Callable[[], None]) -> LoadedModel:
        """The model of this key, made at most once at a time; `check` may raise while another thread makes it."""
        with self._guard:
            gate = self._gates.setdefault(key, threading.Lock())
        while not gate.acquire(timeout=0.1):
            check()
        try:
            return self.find(key) or self._keep(key, make())
        finally:
            gate.release()

    def renew_locks(self) -> None:
        """For a process that has just been forked: a lock that another thread held stays locked in it for ever."""
        self._guard, self._gates = threading.Lock(), {}
        self._models = OrderedDict((key, replace(model, lock=threading.RLock())) for key, model in self._models.items())

    def clear(self) -> None:
        with self._guard:
            self._models.clear()

    def _keep(self, key: str, model: LoadedModel) -> LoadedModel:
        with self._guard:
            self._models[key] = model
            while len(self._models) > 1 and sum(kept.bytes for kept in self._models.values()) > self.limit:
                self._models.popitem(last=False)
        return model
