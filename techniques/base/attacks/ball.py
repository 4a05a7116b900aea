"""The ball a picture stays in while it is attacked, and lengths of changes. Everything works on batches `[B, C, H, W]` of
pixels in `[0, 1]`, each picture for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from model_zoo.deferred import torch
from techniques.base.parameters import Help, Range

Norm = Annotated[
    Literal["linf", "l2"], Help("What epsilon limits: the change of every single value (linf), or the root mean square change of the picture (l2).")
]
Smallest = Annotated[
    Literal["l2", "linf"], Help("What is made small: the Euclidean length of the change (l2), or the largest change of any value (linf).")
]
StepSize = Annotated[float, Range(0.01, 2, 0.01, "of epsilon"), Help("How far one step goes, as a share of epsilon.")]

_TINY = 1e-30  # keeps divisions by a length defined


@dataclass(frozen=True, eq=False)
class Ball:
    """The pictures near `pixels` `[B, C, H, W]`: inside `[0, 1]`, and changed by no more than `radius`.

    linf: no value changes by more than epsilon / 255. l2: the change is no longer than
    epsilon / 255 * sqrt(C * H * W), which is a root mean square change of epsilon / 255. The same epsilon is
    therefore about equally visible in both norms.
    """

    pixels: torch.Tensor
    epsilon: float
    norm: str

    @property
    def radius(self) -> float:
        return self.epsilon / 255 * (1 if self.norm == "linf" else math.sqrt(self.pixels[0].numel()))

    def project(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` drawn back into the ball, then clipped to `[0, 1]`."""
        return (self.pixels + self.shortened(pixels - self.pixels)).clamp(0, 1)

    def shortened(self, change: torch.Tensor) -> torch.Tensor:
        """Changes `[B, C, H, W]` no longer than the radius."""
        if self.norm == "linf":
            return change.clamp(-self.radius, self.radius)
        return change * (self.radius / length(change)).clamp(max=1)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The steepest way up among all changes of size 1 in the norm; zero where the gradient is zero."""
        return gradient.sign() if self.norm == "linf" else unit(gradient)

    def random_start(self, generator: torch.Generator) -> torch.Tensor:
        """A uniformly random point of the ball, clipped to `[0, 1]`."""
        if self.norm == "linf":
            change = self.radius * (2 * draw(torch.rand, self.pixels, generator) - 1)
        else:
            count, values = len(self.pixels), self.pixels[0].numel()
            share = torch.rand(count, 1, 1, 1, generator=generator).to(self.pixels) ** (1 / values)
            change = self.radius * share * unit(draw(torch.randn, self.pixels, generator))
        return self.project(self.pixels + change)

    def white_noise(self, drawn: torch.Tensor) -> torch.Tensor:
        """Of Gaussian numbers in the pixels' shape a point at full distance, clipped to `[0, 1]`: their signs (linf), or they
        themselves at that length (l2)."""
        return self.project(self.pixels + self.radius * self.direction(drawn))


def draw(sampler, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random numbers in the shape of `like`, drawn on the CPU so that a seed means the same on every device."""
    return sampler(like.shape, generator=generator).to(like)


def length(change: torch.Tensor, order: int = 2) -> torch.Tensor:
    """The norm of that order for each picture, Euclidean unless 1 is given, `[B, 1, 1, 1]`, never zero."""
    largest = change.abs().amax((1, 2, 3), keepdim=True).clamp_min(_TINY)  # or the squares of large numbers overflow, of small ones vanish
    return (largest * (change / largest).flatten(1).norm(order, dim=1).view(-1, 1, 1, 1)).clamp_min(_TINY)


def unit(gradient: torch.Tensor, order: int = 2) -> torch.Tensor:
    """The gradient at length 1 for each picture; zero where it is zero."""
    gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(_TINY)
    return gradient / length(gradient, order)


def distance(change: torch.Tensor, norm: str) -> torch.Tensor:
    """The norm of each picture's change, `[B]`: of order 0 (how many pixels, all channels together), 2 or infinity, in units of intensity."""
    if norm == "l0":
        return change.abs().amax(1).gt(0).flatten(1).sum(1).to(change.dtype)
    return change.flatten(1).norm(dim=1) if norm == "l2" else change.abs().amax((1, 2, 3))
