"""Gradients of one logit at the pixels of many pictures; and how strongly each pixel moves a logit, with the noise of a
single gradient averaged out.

SmoothGrad: Smilkov, Thorat, Kim, Viegas and Wattenberg 2017, arXiv:1706.03825, section 2.2: the mean over n copies of the
picture, each with its own Gaussian noise, of the sensitivity map. `smooth_gradients` takes the absolute values before the
mean and not after it, so that a pixel whose effect turns its sign under the noise still counts, as its map is about strength.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from model_zoo.deferred import torch
from techniques.base.hooks import gradient_at

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run

MEMORY = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes a batch may take; on a CPU larger batches are no faster ...
FEW, FOR_FEW = 5, 4  # ... but of a large network so many pictures, at so many times the memory, leave the processor less idle than single ones


def deviation_for(pixels: torch.Tensor, noise: float) -> float:
    """Standard deviation in units of intensity of `noise` percent of the range of values in `pixels` (10 to 20 in the paper, section 3.2)."""
    return noise / 100 * float(pixels.max() - pixels.min())


def gradients_of(model: LoadedModel, pixels: torch.Tensor, target: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The logit of the class `target` for each picture of `[B, C, H, W]`, and d logit / d pixel: `[B]`, `[B, C, H, W]`."""
    pixels = pixels.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)[:, target]
    return logits.detach(), gradient_at(logits.sum(), pixels)


def absolute_gradients(model: LoadedModel, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """|d logit / d pixel| of the class `target` for each picture `[B, C, H, W]`, in logits per unit of intensity."""
    return gradients_of(model, pixels, target)[1].abs()


def batches(model: LoadedModel, count: int, each: int = 1) -> list[range]:
    """`count` pictures, or groups of `each` pictures, in batches about equally large that fit into MEMORY with what the way back needs."""
    size = math.ceil(count / math.ceil(count / max(1, _batch_size(model) // each)))
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def noisy_gradients(
    model: LoadedModel, picture: torch.Tensor, target: int, run: Run, *, samples: int, deviation: float, seed: int
) -> Iterator[torch.Tensor]:
    """d logit / d pixel at `samples` copies of a picture `[C, H, W]`, batch by batch `[B, C, H, W]`, in logits per unit of intensity.

    Each copy has Gaussian noise of its own, fixed by `seed` and the same whatever fits into a batch; copies are not clipped.
    """
    generator = torch.Generator().manual_seed(seed)
    for batch in run.steps(batches(model, samples), "Batch of noisy pictures"):
        noise = torch.stack([torch.randn(picture.shape, generator=generator) for _ in batch])  # the same for any size
        yield gradients_of(model, picture + deviation * noise.to(picture), target)[1]


def smooth_gradients(
    model: LoadedModel, pixels: torch.Tensor, target: int, run: Run, *, samples: int, deviation: float, seed: int = 0
) -> torch.Tensor:
    """Mean of the absolute gradients over `samples` noisy copies of each picture `[B, C, H, W]`, same shape, logits per unit
    of intensity.

    `deviation` is that of the noise, in units of intensity; copies are not clipped to `[0, 1]`. Every picture meets the
    same noise, fixed by `seed`, so that two pictures differ by what is in them alone; and each goes through the network
    apart from the others, so that its numbers do not depend on them.
    """
    total = torch.zeros_like(pixels)
    for number, picture in enumerate(pixels):
        part = run.part(number, len(pixels), "")
        for gradients in noisy_gradients(model, picture, target, part, samples=samples, deviation=deviation, seed=seed):
            total[number] += gradients.abs().sum(0)
    return total / samples


def _batch_size(model: LoadedModel) -> int:
    """How many pictures fit into MEMORY with what the way back needs: their pixels and the outputs of all layers, in float32."""
    pixels = model.preprocessing.channels * math.prod(model.preprocessing.size)
    picture = 4 * (pixels + sum(math.prod(layer.shape) for layer in model.layers))
    memory = MEMORY.get(model.device.type, MEMORY["cpu"])
    return max(1, memory // picture, min(FEW, FOR_FEW * memory // picture))
