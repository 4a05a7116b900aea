"""What attacks on sets have found, kept while the app runs: a run that was stopped goes on where it was. It holds so many bytes, and what
was not asked for longest goes first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

LIMIT = 64 * 2**20  # bytes
ALIKE = 1e-3  # logits of one picture in batches of different size differ by rounding only


class Found(NamedTuple):
    """What an attack made of one picture: its logits before, after and with white noise of the same size, each `[K]`, whether the goal is
    reached, L2 in units of intensity, the largest change in 1/255, the forward and backward passes (of a batch, the mean), and the
    attacked picture `[C, H, W]` where that is kept. All tensors are on the CPU."""

    before: torch.Tensor
    after: torch.Tensor
    noisy: torch.Tensor
    reached: bool
    l2: float
    largest: float
    forward: float
    backward: float
    attacked: torch.Tensor | None

    @property
    def bytes(self) -> int:
        tensors = (value for value in self if isinstance(value, torch.Tensor))
        return 1000 + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


class Memory:
    """Findings by their question: the model, the attack with its settings, and the picture."""

    def __init__(self, limit: int = LIMIT):
        self.limit = limit
        self._found: OrderedDict[Hashable, Found] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, asked: Hashable, before: torch.Tensor) -> Found | None:
        """What was found, provided that the model still says the same of the picture: logits `before` `[K]`, on the CPU. Two networks may share
        their weights and not what they do with them."""
        with self._lock:
            found = self._found.get(asked)
            if found is None or found.before.shape != before.shape or not torch.allclose(found.before, before, rtol=ALIKE, atol=ALIKE):
                return None
            self._found.move_to_end(asked)
            return found

    def keep(self, asked: Hashable, found: Found) -> None:
        with self._lock:
            self._forget(asked)
            self._found[asked] = found
            self._bytes += found.bytes
            while self._bytes > self.limit:
                self._forget(next(iter(self._found)))

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self._bytes = 0

    def _forget(self, asked: Hashable) -> None:
        old = self._found.pop(asked, None)
        self._bytes -= old.bytes if old else 0


MEMORY = Memory()


def question(model: LoadedModel, pixels: torch.Tensor, asked: Hashable) -> Hashable:
    """What is asked of this model about one picture `[C, H, W]`; `asked` is all else that decides the answer."""
    return model.key, model.sha256, hashlib.sha256(pixels.cpu().contiguous().numpy().tobytes()).hexdigest(), asked
