"""What a picture is made for: a class, a channel, one neuron, a direction among the channels, or a whole layer.

One number is climbed for each picture. It is the logit of a class (Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, section
2); for channels the mean over all places, for a neuron the place in the middle, and a direction is a weighted sum
of channels (Olah, Mordvintsev and Schubert 2017, doi:10.23915/distill.00007, sections "Optimization objectives" and "Diversity"); a
whole layer counts with the mean of its squares (Mordvintsev et al. 2015, deep dream).

Of what is read before an activation only the positive part counts, as the activation after it would have it: places that speak
for a feature and places that speak against it would cancel, and of a convolution of the picture itself nothing but its
mean colour would be left. Where nothing is positive all of it counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.hooks import input_of, output_of


@dataclass(frozen=True, eq=False)
class Aim:
    """One row for each picture: `directions` `[N, C]` among the channels of `layer`, or among the classes where it is None.
    Without directions one picture is made for the whole layer. `centre` reads the place in the middle alone."""

    layer: Layer | None
    directions: torch.Tensor | None
    centre: bool = False

    @classmethod
    def at_classes(cls, model: LoadedModel, classes: Sequence[int]) -> Aim:
        return cls(None, _one_hot(classes, model.classes))

    @classmethod
    def at_channels(cls, layer: Layer, channels: Sequence[int], centre: bool = False) -> Aim:
        """Channels of a layer, or units where it has no places."""
        return cls(layer, _one_hot(channels, layer.channels), centre)

    @classmethod
    def at_answer(cls, model: LoadedModel, layer: Layer, pixels: torch.Tensor) -> Aim:
        """The direction, of length one, of what the layer answers to a picture `[1, C, H, W]` on average over its places."""
        with torch.no_grad():
            mean = layer.maps(output_of(model, layer, pixels)).mean((2, 3))
        return cls(layer, torch.nn.functional.normalize(mean))

    def __len__(self) -> int:
        return 1 if self.directions is None else len(self.directions)

    def values(self, model: LoadedModel, pixels: torch.Tensor, part: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """The number `[n]` that is climbed, in the unit of the layer or in logits, for pictures `[n, C, H, W]` that belong to a
        `part` of the rows, a slice or their numbers; differentiable. Nothing after the layer is computed."""
        if self.directions is None:
            return self.layer.maps(output_of(model, self.layer, pixels)).square().mean((1, 2, 3))
        directions = self.directions[part].to(pixels.device)
        if self.layer is None:
            return (model.logits(pixels) * directions).sum(1)
        module = model.module(self.layer.name)
        if self.layer.calls == 1 and _can_be_chosen(module):
            maps = _chosen(module, input_of(model, self.layer, pixels), directions)
        else:
            maps = torch.einsum("nchw,nc->nhw", self.layer.maps(output_of(model, self.layer, pixels)), directions)
        if self.centre:
            return maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
        positive = maps.relu().mean((1, 2))
        return torch.where(positive > 0, positive, maps.mean((1, 2)))


def _one_hot(positions: Sequence[int], count: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.as_tensor(positions), count).float()


def _can_be_chosen(module: torch.nn.Module) -> bool:
    """Whether it is a plain convolution, of which one filter can be computed for less than all; one with few filters of many taps cannot."""
    plain = type(module) is torch.nn.Conv2d and module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and 2 * math.prod(module.kernel_size) < module.out_channels


def _chosen(module: torch.nn.Conv2d, given: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """Maps `[n, h, w]` of one direction among the filters for each picture `[n, C, H, W]`, at the price of one filter.

    A weighted sum of filters is a filter. Its taps are one product of matrices over all places; a convolution of ones and
    zeros then brings each tap to where it belongs.
    """
    (rows, columns), (count, channels, height, width) = module.kernel_size, given.shape
    weight = torch.einsum("nd,dcij->nijc", directions, module.weight).reshape(count, rows * columns, channels)
    taps = torch.bmm(weight, given.flatten(2)).view(count, rows * columns, height, width)
    places = torch.eye(rows * columns, device=given.device).view(1, rows * columns, rows, columns)
    maps = torch.nn.functional.conv2d(taps, places, None, module.stride, module.padding, module.dilation)[:, 0]
    return maps if module.bias is None else maps + (directions @ module.bias)[:, None, None]
