"""Packages that are slow to import, loaded at their first use: the page is up before torch is.

`from model_zoo.deferred import torch` reads like `import torch` and costs nothing until an attribute is asked
for. The app imports the packages in the background once the page is served (`warm_up`).

Only one thread imports at a time: torchvision and timm import themselves in circles, and Python tells two threads
that meet in one of them of a deadlock.
"""

import importlib
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

_one_at_a_time = threading.RLock()


class Deferred(ModuleType):
    """Stands for a module and imports it when an attribute is read; safe between threads."""

    def __getattr__(self, name: str) -> Any:
        if "_imported" not in self.__dict__:
            self._imported = _import(self.__name__)
        return getattr(self._imported, name)


if TYPE_CHECKING:
    import timm
    import torch
else:
    torch = Deferred("torch")
    timm = Deferred("timm")


def _import(name: str) -> ModuleType:
    with _one_at_a_time:
        return importlib.import_module(name)


def warm_up() -> None:
    """Import the slow packages now, or wait until another thread has."""
    for name in ("torch", "timm", "safetensors.torch"):
        _import(name)
