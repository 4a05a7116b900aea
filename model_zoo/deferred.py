"""Packages that are slow to import, loaded at their first use: the page is up before torch is.

`from model_zoo.deferred import torch` reads like `import torch` and costs nothing until an attribute is asked
for. The app imports the packages in the background once the page is served (`warm_up`).
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any


class Deferred(ModuleType):
    """Stands for a module and imports it when an attribute is read; safe between threads."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import timm
    import torch
else:
    torch = Deferred("torch")
    timm = Deferred("timm")


def warm_up() -> None:
    """Import the slow packages now."""
    for name in ("torch", "timm", "safetensors.torch"):
        importlib.import_module(name)
