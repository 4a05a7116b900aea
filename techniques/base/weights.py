"""The weights of layers: as kernels, as the patterns they are mixed from, and as a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.activations import BINS, rectangle
from techniques.base.hooks import watching
from techniques.base.results import Heatmap, Picture

COMPONENTS = 64  # so many principal components are shown at the most
RANK = 1e-5  # of the largest singular value; what is smaller is rounding
PART = 2**20  # weights that are counted at one time: exact in float32, and little memory


class Distribution(NamedTuple):
    """Counts `[BINS]` between `edges` `[BINS + 1]` from the smallest to the largest weight, standard deviation, and largest size."""

    edges: np.ndarray
    counts: np.ndarray
    deviation: float
    largest: float

    @classmethod
    def of(cls, weight: torch.Tensor) -> Distribution:
        """Of all weights, in parts; a constant weight gets edges half a unit to each side."""
        low, high = (float(end) for end in weight.aminmax())
        margin = 0.5 * (low == high)
        counts, deviation = torch.zeros(BINS, dtype=torch.int64), float(torch.std(weight, correction=0))
        for part in weight.flatten().split(PART):
            counts += torch.histc(part, BINS, low - margin, high + margin).long().cpu()
        return cls(np.linspace(low - margin, high + margin, BINS + 1), counts.numpy(), deviation, max(-low, high))


def layers_with_kernels(model: LoadedModel) -> list[Layer]:
    """Convolutions and linear layers in the order of execution; not transposed ones, whose weights are sorted by input."""
    return [layer for layer in model.layers if layer.weighted and not getattr(model.module(layer.name), "transposed", False)]


def kernels(model: LoadedModel, layer: Layer) -> torch.Tensor:
    """The layer's weights `[filters, inputs, h, w]`: of a linear layer 1 x 1, of a convolution along a line 1 x w, of one in
    space its slices below one another. They are the model's own memory."""
    weight = model.module(layer.name).weight.detach()
    return weight.reshape(*weight.shape[:2], -1, weight.shape[-1] if weight.ndim > 2 else 1)


def weighted_layer(model: LoadedModel, name: str | None, known: Sequence[Layer]) -> Layer:
    """The layer of this name, or the model's own choice, where its weights can be read; else the last such layer that has finished
    by then, else the first."""
    names = [layer.name for layer in model.layers]
    place = names.index(name or model.default_layer or names[-1])
    before = [layer for layer in known if names.index(layer.name) <= place]
    return before[-1] if before else known[0]


def mosaic(kernel: np.ndarray) -> np.ndarray:
    """A kernel `[inputs, h, w]` as one map: the inputs row by row in a square of them, a line of zeros between any two."""
    count, height, width = kernel.shape
    columns = count if count <= 4 else math.ceil(math.sqrt(count))
    tiles = np.zeros((-(-count // columns) * columns, height + 1, width + 1), kernel.dtype)
    tiles[:count, :height, :width] = kernel
    rows = tiles.reshape(-1, columns, height + 1, width + 1).transpose(0, 2, 1, 3)
    return rows.reshape(-1, columns * (width + 1))[:-1, :-1]


def watched(model: LoadedModel, layers: dict[str, Layer], pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each of the layers puts out at its last use, from one pass without a gradient; AppError where the logits are not finite."""
    outputs: dict[str, torch.Tensor] = {}

    def see(name: str, output: torch.Tensor) -> None:
        outputs[name] = output.clone()  # what follows may add to it in place

    with torch.no_grad(), watching(model, layers, see):
        model.valid_logits(pixels)
    return outputs


def reads_all_pixels(model: LoadedModel, layer: Layer, output: torch.Tensor, pixels: torch.Tensor) -> bool:
    """Whether a linear layer reads the normalised pixels `[1, C, H, W]` in this order: it would put out the same numbers."""
    module = model.module(layer.name)
    if not isinstance(module, torch.nn.Linear) or module.in_features != pixels[0].numel():
        return False
    mean, std = (torch.tensor(values, device=pixels.device).view(1, -1, 1, 1) for values in (model.preprocessing.mean, model.preprocessing.std))
    expected = torch.nn.functional.linear(((pixels - mean) / std).flatten(1), module.weight.detach(), module.bias)
    return output.shape == expected.shape and bool(torch.allclose(output, expected, rtol=1e-3, atol=1e-4))


def principal_components(weight: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of filters `[N, C, h, w]` with their outputs `[N, H, W]`: components `[K, C, h, w]` of length one, what these would
    put out `[K, H, W]`, up to a constant, and the share of the filters' variance that each holds `[K]`.

    With the filters less their mean W = U S V, a component is V = U' W / S, so its output is U' (outputs less their mean) / S.
    The largest weight of a component is positive.
    """
    flat = weight.flatten(1)
    left, sizes, right = torch.linalg.svd(flat - flat.mean(0), full_matrices=False)
    count = min(COMPONENTS, max(1, int((sizes > RANK * sizes[0]).sum())))
    signs = right.gather(1, right.abs().argmax(1, keepdim=True)).sign()[:count]
    left, right = left[:, :count] * signs.T, right[:count] * signs
    answers = torch.tensordot(left.T / sizes[:count, None].clamp(min=1e-12), maps - maps.mean(0), 1)
    shares = sizes.square() / sizes.square().sum().clamp(min=1e-12)
    return right.reshape(count, *weight.shape[1:]), answers, shares[:count]


def colour_kernels(model: LoadedModel, layer: Layer, output: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor | None:
    """The filters `[N, C, h, w]` of a layer that reads the picture's pixels `[1, C, H, W]` as they are; None for any other. `output` is what it
    puts out for them."""
    weight = kernels(model, layer)
    if reads_all_pixels(model, layer, output, pixels):
        return weight.view(len(weight), *pixels.shape[1:])
    reads_colours = weight.shape[1] == pixels.shape[1] and not (weight.shape[2:].numel() == 1 and layer.kind == "vector")
    return weight if reads_colours else None


def filter_of(model: LoadedModel, layer: Layer, output: torch.Tensor, pixels: torch.Tensor, number: int) -> Heatmap | Picture:
    """The weights of one filter: in colour where it reads the picture's pixels as they are, else input by input; of one weight per input a
    rectangle. `output` is what its layer puts out for the pixels."""
    caption = f"{layer.name}, filter {number}"
    coloured = colour_kernels(model, layer, output, pixels)
    if coloured is not None:
        return Picture(coloured[number, :3].clone(), signed=True, caption=caption)
    weight = kernels(model, layer)[number].cpu().numpy()
    values = mosaic(weight) if weight[0].size > 1 else weight.reshape(rectangle(len(weight))).copy()
    return Heatmap(values, signed=True, caption=caption)
