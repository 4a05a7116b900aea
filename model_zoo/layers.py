"""What a network is made of, found out by running it once: every layer with its kind, shape and stride.

Nothing is looked up in a table of architectures. A spatial layer answers with maps, a token layer with one
vector per patch (and perhaps prefix tokens such as the class token), a vector layer with one vector. Two pictures
run side by side that differ in one corner: where a layer's answers differ shows which axes are height and width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from model_zoo.deferred import torch

Kind = Literal["spatial", "tokens", "vector"]
CLEARLY, ELSEWHERE, ALIKE = 1.2, 3, 20  # ratios between changes in quarters of a map, see _Quarters; timm's families leave wide gaps
MOST_PREFIX_TOKENS = 9  # one class token and eight registers are the most that is in use


@dataclass(frozen=True)
class Layer:
    """One named module and what it puts out for a batch of one.

    `shape` is the output shape without the batch axis, `grid` the (height, width) of its maps or patches
    ((1, 1) for a vector), `stride` the pixels of the input per cell of the grid, `calls` how often one forward
    pass uses the module, `parameters` how many numbers it learns itself, its submodules not counted. `local` is
    False where a change in one corner of the picture was seen at other places of the grid.
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
    parameters: int = 0
    local: bool = True

    def maps(self, output: torch.Tensor) -> torch.Tensor:
        """The layer's output as maps `[B, C, h, w]`, a differentiable view; prefix tokens are left out."""
        if self.kind == "vector":
            return output.reshape(output.shape[0], -1, 1, 1)
        if self.kind == "tokens":
            patches = output[:, self.prefix_tokens :]
            return patches.transpose(1, 2).reshape(output.shape[0], self.channels, *self.grid)
        return output.permute(0, 3, 1, 2) if self.channels_last else output


class Seen(NamedTuple):
    """What one look at a network found.

    `output` is what it answered, to two pictures; `uses` how often each module ran, by name in the order of execution;
    `groups` the (groups per picture, positions in each) of modules that work on parts of pictures stacked into the batch.
    """

    layers: tuple[Layer, ...]
    output: Any
    uses: dict[str, int]
    groups: dict[str, tuple[int, int]]


class _Change(NamedTuple):
    """Where a layer's output `[2, ...]` differs between the two pictures: summed over the first axis that is not the
    batch, and over the last, each where what remains has the proportions of the picture, or is a row of tokens."""

    shape: tuple[int, ...]
    over_first: torch.Tensor | None
    over_last: torch.Tensor | None


def inspect(network: torch.nn.Module, pixels: torch.Tensor, prefix_tokens: int | None) -> Seen:
    """Every module that answers with a float tensor of one of the three kinds, in the order of execution.

    `pixels` is one picture `[1, C, H, W]`; `prefix_tokens` what the network tells about itself, or None. A module
    that hands on its input as it is (an identity, a dropout in eval mode) is left out, and so is one that works on
    something other than whole pictures: windows stacked into the batch, attention heads.
    """
    modules = dict(network.named_modules())
    pair = torch.cat([pixels, _changed(pixels)])
    changes: dict[str, _Change] = {}
    uses: dict[str, int] = {}
    groups: dict[str, tuple[int, int]] = {}
    handles = []

    def record(name: str):
        def hook(_module, inputs, output):
            uses[name] = uses.get(name, 0) + 1
            hands_on = bool(inputs) and output is inputs[0]
            if not isinstance(output, torch.Tensor) or not output.is_floating_point() or hands_on or not output.ndim:
                return
            if output.shape[0] == len(pair):
                changes.pop(name, None)  # the last call decides the place in the order
                changes[name] = _change(output, pixels.shape[-2] / pixels.shape[-1])
            elif output.ndim in (3, 4) and output.shape[0] > len(pair) and output.shape[0] % len(pair) == 0:
                groups[name] = (output.shape[0] // len(pair), math.prod(output.shape[1:-1]))

        return hook

    try:
        for name, module in modules.items():
            if name:
                handles.append(module.register_forward_hook(record(name)))
        with torch.no_grad():
            output = network(pair)
    finally:
        for handle in handles:
            handle.remove()

    described = (_describe(name, modules[name], change, tuple(pixels.shape[-2:]), prefix_tokens, uses[name]) for name, change in changes.items())
    return Seen(tuple(layer for layer in described if layer), output, uses, groups)


def own_parameters(module: torch.nn.Module) -> int:
    """How many numbers a module learns itself, its submodules not counted."""
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _changed(pixels: torch.Tensor) -> torch.Tensor:
    """The same picture but for its top right corner, a quarter of the height and of the width."""
    changed = pixels.clone()
    height, width = (max(1, side // 4) for side in pixels.shape[-2:])
    changed[..., :height, -width:] *= -1
    return changed


def _change(output: torch.Tensor, ratio: float) -> _Change:
    shape = tuple(output.shape[1:])
    over_first, over_last = len(shape) == 3 and _is_grid(shape[1:], ratio), len(shape) == 2 or len(shape) == 3 and _is_grid(shape[:2], ratio)
    if not (over_first or over_last):
        return _Change(shape, None, None)
    difference = (output[1] - output[0]).abs_()
    return _Change(shape, difference.sum(0) if over_first else None, difference.sum(-1) if over_last else None)


def _describe(name, module, change: _Change, size: tuple[int, int], told: int | None, calls: int) -> Layer | None:
    """The layer's kind from its output shape and from where it changed, or None when it is none of the three."""
    shape, (height, width) = change.shape, size
    weighted = isinstance(module, (torch.nn.Linear, torch.nn.modules.conv._ConvNd))
    common = {"name": name, "type": type(module).__name__, "shape": shape, "calls": calls, "weighted": weighted}
    common["parameters"] = own_parameters(module)
    if len(shape) == 3:
        channels_last = _is_channels_last(module, change, height / width)
        channels, grid = (shape[2], shape[:2]) if channels_last else (shape[0], shape[1:])
        if grid == (1, 1):
            return Layer(kind="vector", channels=channels, grid=(1, 1), stride=height, **common)
        if not _is_grid(grid, height / width):
            return None
        local = not _Quarters.of(change.over_last if channels_last else change.over_first).contradicted
        stride = max(1, round(height / grid[0]))
        return Layer(kind="spatial", channels=channels, grid=grid, stride=stride, channels_last=channels_last, local=local, **common)
    if len(shape) == 2 and shape[0] > 1:
        prefix, grid, local = _patches(change, height / width, told)
        if grid:
            stride = max(1, round(height / grid[0]))
            return Layer(kind="tokens", channels=shape[1], grid=grid, stride=stride, prefix_tokens=prefix, local=local, **common)
    if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1):
        return Layer(kind="vector", channels=shape[-1], grid=(1, 1), stride=height, **common)
    return None


def _patches(change: _Change, ratio: float, told: int | None) -> tuple[int, tuple[int, int] | None, bool]:
    """(prefix tokens, grid, local) of tokens: the number that the network tells, or none, or one class token, by
    arithmetic; any other number only when the grid that remains answers locally."""
    found = (0, None, False)
    for prefix in dict.fromkeys((told or 0, *range(MOST_PREFIX_TOKENS + 1))):
        grid = _token_grid(change.shape[0] - prefix, ratio)
        if not grid:
            continue
        quarters = _Quarters.of(change.over_last[prefix:].reshape(grid))
        if quarters.seen:
            return prefix, grid, True
        if not found[1] and prefix in (told, 0, 1):
            found = (prefix, grid, not quarters.contradicted)
    return found


class _Quarters(NamedTuple):
    """How much maps `[h, w]` changed on average in the top right quarter, where the picture has changed, and in those of
    the other quarters that changed most and least."""

    here: float
    most: float
    least: float

    @classmethod
    def of(cls, change: torch.Tensor) -> _Quarters:
        rows, columns = (max(1, side // 2) for side in change.shape)
        others = [change[:rows, :columns], change[-rows:, :columns], change[-rows:, -columns:]]
        means = [float(quarter.mean()) for quarter in others[: 3 if len(change) > 1 else 1]]
        return cls(float(change[:rows, -columns:].mean()), max(means), min(means))

    @property
    def seen(self) -> bool:
        return self.here > CLEARLY * self.most

    @property
    def contradicted(self) -> bool:
        """The change is somewhere else, so the cells stand for other places. One that is everywhere alike says nothing:
        deep layers see the whole picture from every place."""
        return self.most > ELSEWHERE * self.here or (not self.seen and self.most > ALIKE * self.least)


def _token_grid(count: int, ratio: float) -> tuple[int, int] | None:
    """The (height, width) of `count` patches of a picture of this height to width ratio, or None."""
    if count < 2:
        return None
    rows = round(math.sqrt(count * ratio))
    return (rows, count // rows) if rows and count % rows == 0 and abs(rows / (count // rows) - ratio) < 0.01 else None


def _is_grid(grid: tuple[int, int], ratio: float) -> bool:
    """Whether (height, width) has the proportions of the picture, but for borders that convolutions cut off."""
    return abs(grid[0] - grid[1] * ratio) <= max(1, 0.1 * grid[0])


def _is_channels_last(module, change: _Change, ratio: float) -> bool:
    """Whether `[a, b, c]` is height, width, channels: by the module's type, else by which pair fits the picture, and
    where both do by which pair changed in the corner where the picture has changed."""
    if isinstance(module, (torch.nn.modules.conv._ConvNd, torch.nn.modules.batchnorm._BatchNorm)):
        return False
    if isinstance(module, torch.nn.Linear):
        return True
    first, last = _is_grid(change.shape[1:], ratio), _is_grid(change.shape[:2], ratio)
    if not (first and last):
        return last
    over_last, over_first = _Quarters.of(change.over_last), _Quarters.of(change.over_first)
    return over_last.here * over_first.most > over_first.here * over_last.most
