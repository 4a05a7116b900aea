"""What a network is made of, found out by running it once: every layer with its kind, shape and stride.

Nothing is looked up in a table of architectures. A spatial layer answers with maps, a token layer with one
vector per patch (and perhaps prefix tokens such as the class token), a vector layer with one vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from model_zoo.deferred import torch

Kind = Literal["spatial", "tokens", "vector"]


@dataclass(frozen=True)
class Layer:
    """One named module and what it puts out for a batch of one.

    `shape` is the output shape without the batch axis, `grid` the (height, width) of its maps or patches
    ((1, 1) for a vector), `stride` the pixels of the input per cell of the grid, `calls` how often one forward
    pass uses the module.
    """

    name: str
    type: str
    kind: Kind
    shape: tuple[int, ...]
    channels: int
    grid: tuple[int, int]
    stride: int
    prefix_tokens: int = 0
    channels_last: bool = False
    calls: int = 1
    weighted: bool = False

    def maps(self, output: torch.Tensor) -> torch.Tensor:
        """The layer's output as maps `[B, C, h, w]`, a differentiable view; prefix tokens are left out."""
        if self.kind == "vector":
            return output.reshape(output.shape[0], -1, 1, 1)
        if self.kind == "tokens":
            patches = output[:, self.prefix_tokens :]
            return patches.transpose(1, 2).reshape(output.shape[0], self.channels, *self.grid)
        return output.permute(0, 3, 1, 2) if self.channels_last else output


def inspect(network: torch.nn.Module, pixels: torch.Tensor, prefix_tokens: int) -> tuple[Layer, ...]:
    """Every module that answers with a float tensor of one of the three kinds, in the order of execution.

    A module that hands on its input as it is (an identity, a dropout in eval mode) is left out, and so is one
    that works on something other than whole pictures: windows stacked into the batch, attention heads.
    """
    modules = dict(network.named_modules())
    outputs: dict[str, torch.Size] = {}
    calls: dict[str, int] = {}
    handles = []

    def record(name: str):
        def hook(_module, inputs, output):
            hands_on = bool(inputs) and output is inputs[0]
            whole = isinstance(output, torch.Tensor) and output.is_floating_point() and output.shape[:1] == pixels.shape[:1]
            if whole and not hands_on:
                outputs.pop(name, None)  # the last call decides the place in the order
                outputs[name] = output.shape
                calls[name] = calls.get(name, 0) + 1

        return hook

    try:
        for name, module in modules.items():
            if name:
                handles.append(module.register_forward_hook(record(name)))
        with torch.no_grad():
            network(pixels)
    finally:
        for handle in handles:
            handle.remove()

    height, width = pixels.shape[-2:]
    found = []
    for name, shape in outputs.items():
        layer = _describe(name, modules[name], tuple(shape[1:]), height, width, prefix_tokens, calls[name])
        if layer:
            found.append(layer)
    return tuple(found)


def _describe(name, module, shape, height, width, prefix_tokens, calls) -> Layer | None:
    """The layer's kind from its output shape, or None when it is none of the three."""
    weighted = isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))
    common = {"name": name, "type": type(module).__name__, "shape": shape, "calls": calls, "weighted": weighted}
    if len(shape) == 3:
        channels_last = _is_channels_last(module, shape, height / width)
        channels, grid = (shape[2], shape[:2]) if channels_last else (shape[0], shape[1:])
        if grid == (1, 1):
            return Layer(kind="vector", channels=channels, grid=(1, 1), stride=height, **common)
        if not _is_grid(grid, height / width):
            return None
        stride = max(1, round(height / grid[0]))
        return Layer(kind="spatial", channels=channels, grid=grid, stride=stride, channels_last=channels_last, **common)
    if len(shape) == 2 and shape[0] > 1:
        for prefix in (prefix_tokens, 0, 1):  # one class token is common, and not every network tells
            grid = _token_grid(shape[0] - prefix, height / width)
            if grid:
                stride = max(1, round(height / grid[0]))
                return Layer(kind="tokens", channels=shape[1], grid=grid, stride=stride, prefix_tokens=prefix, **common)
    if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
        return Layer(kind="vector", channels=shape[-1], grid=(1, 1), stride=height, **common)
    return None


def _token_grid(count: int, ratio: float) -> tuple[int, int] | None:
    """The (height, width) of `count` patches of a picture of this height to width ratio, or None."""
    if count < 2:
        return None
    rows = round(math.sqrt(count * ratio))
    return (rows, count // rows) if rows and count % rows == 0 and abs(rows / (count // rows) - ratio) < 0.01 else None


def _is_grid(grid: tuple[int, int], ratio: float) -> bool:
    """Whether (height, width) has the proportions of the picture, but for borders that convolutions cut off."""
    return abs(grid[0] - grid[1] * ratio) <= max(1, 0.1 * grid[0])


def _is_channels_last(module, shape: tuple[int, int, int], ratio: float) -> bool:
    """Whether `[a, b, c]` is height, width, channels: by the module's type, else by which pair fits the picture."""
    if isinstance(module, (torch.nn.modules.conv._ConvNd, torch.nn.modules.batchnorm._BatchNorm)):
        return False
    if isinstance(module, torch.nn.Linear):
        return True
    return _is_grid(shape[:2], ratio) and not _is_grid(shape[1:], ratio)
