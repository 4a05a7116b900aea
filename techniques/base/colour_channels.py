"""A number for each colour channel of each pixel: made one number, or shown in colour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from techniques.base.parameters import Help
from techniques.base.results import Picture

if TYPE_CHECKING:
    import torch

Channels = Annotated[Literal["max", "mean"], Help("How the numbers of the colour channels become one.")]


def one_channel(values: torch.Tensor, channels: str) -> torch.Tensor:
    """`[H, W]` from `[C, H, W]`: the largest or the mean over the channels."""
    return values.amax(0) if channels == "max" else values.mean(0)


def in_colour(values: torch.Tensor, caption: str) -> Picture | None:
    """Signed values `[C, H, W]` as a picture around grey; None for channels that no screen has."""
    return Picture(values, signed=True, caption=caption) if len(values) in (1, 3) else None
