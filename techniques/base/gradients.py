"""How strongly each pixel moves a logit, with the noise of a single gradient averaged out.

SmoothGrad: Smilkov, Thorat, Kim, Viegas and Wattenberg 2017, arXiv:1706.03825, section 2.2: the mean over n copies of the
picture, each with its own Gaussian noise, of the sensitivity map. Departure: the absolute values are taken before the mean
and not after it, so that a pixel whose effect turns its sign under the noise still counts, as its map is about strength.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from model_zoo.deferred import torch

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run

MEMORY = {"cpu": 128 * 2**20, "cuda": 2**30}  # bytes a batch may take; on a CPU larger batches are no faster


def deviation_for(pixels: torch.Tensor, noise: float) -> float:
    """Standard deviation in units of intensity of `noise` percent of the range of values in `pixels` (10 to 20 in the paper, section 3.2)."""
    return noise / 100 * float(pixels.max() - pixels.min())


def absolute_gradients(model: LoadedModel, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """|d logit / d pixel| of the class `target` for each picture `[B, C, H, W]`, in logits per unit of intensity."""
    pixels = pixels.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)
        (gradient,) = torch.autograd.grad(logits[:, target].sum(), pixels)
    return gradient.abs()


def smooth_gradients(
    model: LoadedModel, pixels: torch.Tensor, target: int, run: Run, *, samples: int, deviation: float, seed: int = 0
) -> torch.Tensor:
    """Mean of the absolute gradients over `samples` noisy copies of each picture `[B, C, H, W]`, same shape, logits per unit
    of intensity.

    `deviation` is that of the noise, in units of intensity; copies are not clipped to `[0, 1]`. Every picture meets the
    same noise, fixed by `seed`, so that two pictures differ by what is in them alone; and each goes through the network
    apart from the others, so that its numbers do not depend on them.
    """
    size = math.ceil(samples / math.ceil(samples / _batch_size(model)))  # batches about equally large
    batches = [(picture, start) for picture in range(len(pixels)) for start in range(0, samples, size)]
    total = torch.zeros_like(pixels)
    generator = torch.Generator()
    for picture, start in run.steps(batches, "Batch of noisy pictures"):
        if start == 0:
            generator.manual_seed(seed)
        noise = [torch.randn(pixels.shape[1:], generator=generator) for _ in range(min(size, samples - start))]  # the same for any size
        noisy = pixels[picture] + deviation * torch.stack(noise).to(pixels)
        total[picture] += absolute_gradients(model, noisy, target).sum(0)
    return total / samples


def _batch_size(model: LoadedModel) -> int:
    """How many pictures fit into MEMORY with what the way back needs: their pixels and the outputs of all layers, in float32."""
    pixels = model.preprocessing.channels * math.prod(model.preprocessing.size)
    outputs = sum(math.prod(layer.shape) for layer in model.layers)
    return max(1, MEMORY.get(model.device.type, MEMORY["cpu"]) // (4 * (pixels + outputs)))
