"""How many pictures go through a network at once when no gradient is wanted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

MEMORY = {"cpu": 64 * 2**20, "cuda": 2**30}  # bytes a batch may take; on a CPU larger batches are no faster


def pictures_at_once(model: LoadedModel) -> int:
    """How many pictures fit into MEMORY: their pixels and three times the largest output of a layer, in float32."""
    pixels = model.preprocessing.channels * math.prod(model.preprocessing.size)
    largest = max((math.prod(layer.shape) for layer in model.layers), default=0)
    return max(1, MEMORY.get(model.device.type, MEMORY["cpu"]) // (4 * (pixels + 3 * largest)))
