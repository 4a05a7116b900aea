"""What happens to a picture on its way from the world into a camera, in a form that a gradient passes through: it is turned, moved and
scaled, brighter or darker, noisy, out of focus."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_zoo.deferred import torch
from techniques.base.covering import blurred

if TYPE_CHECKING:
    from model_zoo.preprocessing import Preprocessing

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601


@dataclass(frozen=True)
class Reach:
    """How far random transformations go, each way: shift in shares of the side, scale as a share of 1, rotation in degrees, brightness in
    units of intensity; noise is the largest standard deviation in units of intensity, blur the largest in pixels."""

    shift: float = 0.0
    scale: float = 0.0
    rotation: float = 0.0
    brightness: float = 0.0
    noise: float = 0.0
    blur: float = 0.0


def warped(pixels: torch.Tensor, *, scale: float = 1.0, rotation: float = 0.0, down: float = 0.0, across: float = 0.0) -> torch.Tensor:
    """Pictures `[B, C, H, W]` enlarged by `scale` around their middle, turned counterclockwise by `rotation` degrees, then moved by shares
    of their height and width; bilinear. Beyond its border a picture goes on as it ends there."""
    height, width = pixels.shape[2:]
    grid = places((height, width), (scale * height, scale * width), [(rotation, down, across)]).to(pixels)
    return torch.nn.functional.grid_sample(pixels, grid.expand(len(pixels), -1, -1, -1), padding_mode="border", align_corners=False)


def places(size: tuple[int, int], sides: tuple[float, float], moves: Sequence[tuple[float, float, float]]) -> torch.Tensor:
    """For each pixel of a picture of `size` the place in a source that is laid over it, `[N, H, W, 2]` as `grid_sample` wants it.

    The source is `sides` (height, width) pixels large in the picture, turned counterclockwise around its middle by a rotation in degrees,
    and moved from the picture's middle down and across by shares of its height and width: one of the N `moves`.
    """
    (height, width), (tall, wide) = size, sides
    matrices = []
    for rotation, down, across in moves:
        cosine, sine = math.cos(math.radians(rotation)), math.sin(math.radians(rotation))
        # from the picture's coordinates, -1 to 1 from border to border, to the source's: moved back, turned back, made smaller
        matrices.append([
            [cosine * width / wide, -sine * height / wide, -2 * (cosine * across * width - sine * down * height) / wide],
            [sine * width / tall, cosine * height / tall, -2 * (sine * across * width + cosine * down * height) / tall],
        ])  # fmt: skip
    return torch.nn.functional.affine_grid(torch.tensor(matrices), [len(matrices), 1, height, width], align_corners=False)


def transformed(pixels: torch.Tensor, reach: Reach, generator: torch.Generator) -> torch.Tensor:
    """Pictures `[B, C, H, W]`, all under one random transformation within `reach`, in `[0, 1]`; each has noise of its own."""
    size, turn, down, across, light, noise, blur = (2 * torch.rand(7, generator=generator) - 1).tolist()
    pixels = warped(pixels, scale=1 + size * reach.scale, rotation=turn * reach.rotation, down=down * reach.shift, across=across * reach.shift)
    if reach.blur and blur:
        pixels = blurred(pixels, abs(blur) * reach.blur)
    drawn = torch.randn(pixels.shape, generator=generator).to(pixels)
    return (pixels + light * reach.brightness + abs(noise) * reach.noise * drawn).clamp(0, 1)


def fitted(pixels: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """Pictures `[B, C, H, W]` as large as another model wants them, all of each squeezed, bilinear and antialiased, with as many channels: colour
    becomes grey by its luma, grey becomes colour, opacity goes or is 1 everywhere."""
    channels, wanted = pixels.shape[1], preprocessing.channels
    opacity, colours = pixels[:, 3:], pixels[:, :3]
    if wanted == 1 and channels > 1:
        colours = (colours * colours.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if wanted > 1 and channels == 1:
        colours = colours.expand(-1, 3, -1, -1)
    if wanted == 4:
        colours = torch.cat([colours, opacity if channels == 4 else torch.ones_like(colours[:, :1])], 1)
    if tuple(colours.shape[2:]) == tuple(preprocessing.size):
        return colours
    return torch.nn.functional.interpolate(colours, size=preprocessing.size, mode="bilinear", antialias=True, align_corners=False)
