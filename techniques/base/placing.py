"""A patch on a picture: anywhere, of any size, turned, with a gradient from the picture back to the patch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from model_zoo.deferred import torch
from techniques.base.parameters import Help
from techniques.base.transformations import places

Shape = Annotated[Literal["round", "square"], Help("The outline of the patch: what lies outside is not put on the picture.")]


class Placement(NamedTuple):
    """Where a patch lies: its middle in shares of the picture's height and width, its sides as a share of the picture's sides, and how far it is
    turned, in degrees counterclockwise."""

    down: float
    across: float
    side: float
    rotation: float = 0.0


def side_of(area: float, shape: str) -> float:
    """The side of a patch as a share of the picture's sides, at most 1, that covers the share `area` of the picture."""
    return min(1.0, math.sqrt(area * (4 / math.pi if shape == "round" else 1)))


def anywhere(area: float, shape: str, rotation: float, size: tuple[int, int], generator: torch.Generator) -> Placement:
    """A random place for a patch that covers the share `area`, turned by up to `rotation` degrees either way, wholly inside a picture of `size`
    (height, width) where it fits, else in its middle."""
    turn, down, across = torch.rand(3, generator=generator).tolist()
    side, turn = side_of(area, shape), (2 * turn - 1) * rotation
    height, width, angle = side * size[0], side * size[1], math.radians(turn)
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    reach = (lambda *parts: math.hypot(*parts)) if shape == "round" else (lambda *parts: sum(parts))
    tall, wide = reach(height * cosine, width * sine) / size[0], reach(width * cosine, height * sine) / size[1]
    return Placement(_inside(down, tall), _inside(across, wide), side, turn)


def _inside(share: float, length: float) -> float:
    """The middle of something of this length, at a `share` of the way that it can go."""
    return 0.5 if length >= 1 else length / 2 + share * (1 - length)


def placed(pixels: torch.Tensor, patch: torch.Tensor, placements: Sequence[Placement], shape: str) -> torch.Tensor:
    """Pictures `[B, C, H, W]`, each with the patch `[1, C, h, w]` at a place of its own, or all at one; its edge is half a pixel soft.

    All placements have the side of the first. The patch is made as large as it is to be before it is put there, so that a small one is
    the mean of its pixels, not a choice of them.
    """
    height, width = pixels.shape[2:]
    sides = max(1, round(placements[0].side * height)), max(1, round(placements[0].side * width))
    if tuple(patch.shape[2:]) != sides:
        patch = torch.nn.functional.interpolate(patch, size=sides, mode="bilinear", antialias=True, align_corners=False)
    grid = places((height, width), sides, [(place.rotation, place.down - 0.5, place.across - 0.5) for place in placements]).to(pixels)
    if shape == "round":
        inside = (1 - grid.norm(dim=3)) * min(sides) / 2  # how far from the edge, in pixels
    else:
        inside = ((1 - grid.abs()) * grid.new_tensor(sides[::-1]) / 2).amin(3)
    cover = (0.5 + inside).clamp(0, 1)[:, None]
    lying = torch.nn.functional.grid_sample(patch.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return pixels * (1 - cover) + lying * cover
