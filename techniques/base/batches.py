"""Many changed copies of one picture through the network, as many at a time as a stated memory allows.

A way without gradients keeps one layer's input and output at a time: a batch is as large as its pixels and three times the
largest output of a layer fit into MEMORY. The numbers do not depend on it, but for rounding.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

MEMORY = {"cpu": 64 * 2**20, "cuda": 2**30}  # bytes a batch may take; on a CPU larger batches are no faster
FIRST = 16  # so many pictures make a first coarse answer; the next one has twice as many, and so on


def batch_size(model: LoadedModel) -> int:
    """How many pictures fit into MEMORY: their pixels and three times the largest output of a layer, in float32."""
    pixels = model.preprocessing.channels * math.prod(model.preprocessing.size)
    largest = max((math.prod(layer.shape) for layer in model.layers), default=0)
    return max(1, MEMORY.get(model.device.type, MEMORY["cpu"]) // (4 * (pixels + 3 * largest)))


def batches(count: int, model: LoadedModel, first: int = FIRST) -> list[tuple[slice, bool]]:
    """All of `count` pictures in order, as (at most `batch_size` of them, whether an unfinished answer is due after them).

    One is due after `first` pictures, and whenever there are twice as many as at the last one.
    """
    size, due, planned = batch_size(model), first, []
    for start in range(0, count, size):
        stop = min(start + size, count)
        planned.append((slice(start, stop), due <= stop < count))
        if stop >= due:
            due = 2 * stop
    return planned
