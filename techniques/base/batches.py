"""How many pictures go through a network, or through its end, at one time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from model_zoo.layers import Layer
    from model_zoo.loaded import LoadedModel

FIRST = 16  # so many pictures make a first coarse answer; the next one has twice as many, and so on
Item = TypeVar("Item")

MEMORY = {"cpu": 64 * 2**20, "cuda": 2**30}  # bytes a batch may take; on a CPU larger batches are no faster
MEMORY_OF_END = {"cpu": 256 * 2**20, "cuda": 2**30}  # more: each batch costs one pass up to the layer, too

MEMORY_WITH_GRAPH = {"cpu": 64 * 2**20, "cuda": 4 * 2**30}  # large tensors are new memory from the system each time


def batch_size(model: LoadedModel, after: Layer | None = None) -> int:
    """How many pictures fit into MEMORY without a gradient: their pixels and three times the largest output of a layer, in float32.

    With `after`, only what this layer and those behind it put out counts, and MEMORY_OF_END: one picture up to that layer,
    and from there on so many versions of what it puts out.
    """
    layers = model.layers if after is None else model.layers[model.layers.index(after) :]
    pixels = model.preprocessing.channels * math.prod(model.preprocessing.size) if after is None else 0
    largest = max((math.prod(layer.shape) for layer in layers), default=0)
    memory = MEMORY if after is None else MEMORY_OF_END
    return max(1, memory.get(model.device.type, memory["cpu"]) // (4 * (pixels + 3 * largest)))


def batch_size_with_graph(model: LoadedModel, last: Layer | None, size: tuple[int, int]) -> int:
    """How many pictures of (height, width) fit into MEMORY_WITH_GRAPH when all that is put out up to the `last` layer, or up to
    the classes where it is None, is kept for the way back."""
    layers = model.layers if last is None else model.layers[: model.layers.index(last) + 1]
    area = math.prod(size) / math.prod(model.preprocessing.size)
    kept = area * sum(math.prod(layer.shape) * layer.calls for layer in layers)
    return max(1, int(MEMORY_WITH_GRAPH.get(model.device.type, MEMORY_WITH_GRAPH["cpu"]) // (4 * kept)))


def parts(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """`items` in parts of `size`, the last one perhaps smaller."""
    return [items[start : start + size] for start in range(0, len(items), size)]


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
