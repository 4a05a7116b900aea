"""A picture moved, turned and sized a little at random, as it is seen at each step: what is found must stand up to that, so that it
is no pattern that fits one grid of pixels.

Olah, Mordvintsev and Schubert 2017, doi:10.23915/distill.00007, section "Transformation robustness"; moving alone: Mordvintsev et
al. 2015. Departures: one bilinear sampling does all three; what lies outside is the picture mirrored; and all
pictures of a step are seen alike, so that what becomes of one does not depend on which others are made with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model_zoo.deferred import torch


@dataclass(frozen=True)
class Views:
    """At most so far: `jitter` in percent of the longer side, `rotation` in degrees, `scale` in percent of the size, each both ways."""

    jitter: float
    rotation: float
    scale: float

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """Four numbers from -1 to 1, drawn on the CPU: right, down, turn, size. Their count does not depend on the settings."""
        return 2 * torch.rand(4, generator=generator) - 1

    def seen(self, pictures: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Pictures `[N, C, H, W]` as one draw shows them, in the same shape; differentiable. Moves are whole pixels."""
        if not (self.jitter or self.rotation or self.scale):
            return pictures
        height, width = pictures.shape[2:]
        right, down, turn, size = drawn.tolist()
        reach = self.jitter / 100 * max(height, width)
        angle, factor = math.radians(self.rotation * turn), 1 / (1 + self.scale / 100 * size)
        cosine, sine = factor * math.cos(angle), factor * math.sin(angle)
        place = [
            [cosine, -sine * height / width, 2 * round(reach * right) / width],
            [sine * width / height, cosine, 2 * round(reach * down) / height],
        ]
        matrix = torch.tensor([place], device=pictures.device, dtype=pictures.dtype)
        grid = torch.nn.functional.affine_grid(matrix, [1, *pictures.shape[1:]], align_corners=False)
        return torch.nn.functional.grid_sample(
            pictures, grid.expand(len(pictures), -1, -1, -1), mode="bilinear", padding_mode="reflection", align_corners=False
        )


def blurred(pictures: torch.Tensor, deviation: float) -> torch.Tensor:
    """Pictures `[N, C, H, W]` under a Gaussian of this standard deviation in pixels, mirrored at the border."""
    reach = min(math.ceil(3 * deviation), *(side - 1 for side in pictures.shape[2:]))
    offsets = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * deviation**2))
    kernel = (kernel / kernel.sum()).expand(pictures.shape[1], 1, 1, -1)
    padded = torch.nn.functional.pad(pictures, (reach,) * 4, mode="reflect")
    across = torch.nn.functional.conv2d(padded, kernel, groups=len(kernel))
    return torch.nn.functional.conv2d(across, kernel.transpose(2, 3), groups=len(kernel))
