"""What it means to cover part of a picture: where, what is put in its place, and how the change of the answer is told."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, get_args

from model_zoo.deferred import torch
from techniques.base.drawing.svg import percent
from techniques.base.parameters import Help

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

Fill = Annotated[
    Literal["grey", "mean", "blur", "black", "white"],
    Help("What takes the place of the covered part: even grey, the picture's mean colour, the picture itself blurred, black or white."),
]
FillOrNoise = Annotated[
    Literal["grey", "mean", "blur", "noise", "black", "white"],
    Help("What takes the place of the covered part: even grey, the picture's mean colour, the picture itself blurred, noise, black or white."),
]
Region = Annotated[
    Literal["painted", "what Grad-CAM marks", "both"], Help("What is covered: the painted areas, what Grad-CAM marks for the class, or each of them.")
]
PAINTED, MARKED, BOTH = get_args(get_args(Region)[0])

BLUR = 0.1  # standard deviation of the blur as a share of the shorter side: shapes go, colours stay


def fill_pixels(fill: str, pixels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """What covers the picture `pixels` `[1, C, H, W]`, for every place of it: `[1, C, H, W]` in `[0, 1]`.

    grey is 0.5, noise is uniform and drawn on the CPU, so that a seed means the same on every device.
    """
    if fill == "mean":
        return pixels.mean((2, 3), keepdim=True).expand_as(pixels)
    if fill == "blur":
        return blurred(pixels, BLUR * min(pixels.shape[2:]))
    if fill == "noise":
        return torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed)).to(pixels)
    return torch.full_like(pixels, {"black": 0.0, "grey": 0.5, "white": 1.0}[fill])


def blurred(pixels: torch.Tensor, deviation: float) -> torch.Tensor:
    """Gaussian blur of pictures `[B, C, H, W]`, cut off at three standard deviations; beyond its border a picture goes on as it ends there."""
    reach = math.ceil(3 * deviation)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pixels.device) / deviation) ** 2)
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    channels = pixels.flatten(0, 1)[:, None]  # as a batch of grey pictures
    channels = torch.nn.functional.pad(channels, (reach,) * 4, mode="replicate")
    channels = torch.nn.functional.conv2d(torch.nn.functional.conv2d(channels, weights), weights.transpose(2, 3))
    return channels.view(pixels.shape)


class Windows(NamedTuple):
    """A square that slides over a picture: the first row and first column of each place, its side, the picture's (height, width).

    Every pixel is covered at least once; squares that reach over the lower or right border are cut off there.
    """

    tops: range
    lefts: range
    side: int
    size: tuple[int, int]

    @classmethod
    def over(cls, size: tuple[int, int], window: float, stride: float) -> Windows:
        """Squares with a side of `window` percent of the shorter side, `stride` (up to 100) percent of that apart."""
        side = max(1, round(min(size) * window / 100))
        step = max(1, round(side * stride / 100))
        return cls(*(range(0, length - side + step, step) for length in size), side, tuple(size))

    @property
    def counts(self) -> tuple[int, int]:
        return len(self.tops), len(self.lefts)

    def place(self, row: int, column: int) -> tuple[slice, slice]:
        """The rows and columns of the picture that one square covers."""
        top, left = self.tops[row], self.lefts[column]
        return slice(top, top + self.side), slice(left, left + self.side)

    def covered(self, pixels: torch.Tensor, fill: torch.Tensor, positions: list[tuple[int, int]]) -> torch.Tensor:
        """One copy of the picture `[1, C, H, W]` per position, covered there with `fill`: `[B, C, H, W]`.

        Channels lie last in memory, which convolutions are fastest in.
        """
        pictures = pixels.expand(len(positions), -1, -1, -1).clone(memory_format=torch.channels_last)
        for picture, position in zip(pictures, positions):
            rows, columns = self.place(*position)
            picture[:, rows, columns] = fill[0, :, rows, columns]
        return pictures

    def mean_map(self, values: torch.Tensor) -> torch.Tensor:
        """From one value per square `[rows, columns]` to one per pixel `[H, W]`: the mean over the squares that cover it."""
        above, beside = (self._covers(starts, length) for starts, length in zip((self.tops, self.lefts), self.size))
        return above.T @ values @ beside / torch.outer(above.sum(0), beside.sum(0))

    def _covers(self, starts: range, length: int) -> torch.Tensor:
        """1 where a square covers a row (or a column) of the picture, else 0: `[squares, length]`."""
        first, place = torch.tensor(starts)[:, None], torch.arange(length)
        return ((first <= place) & (place < first + self.side)).float()


def what_changed(model: LoadedModel, target: int, before: torch.Tensor, after: torch.Tensor) -> str:
    """What became of the class `target` and of the answer, from logits `[K]` before and after: the end of a sentence."""
    before, after = model.shares(before), model.shares(after)
    start, end = percent(float(before[target])), percent(float(after[target]))
    moved = f"stays at {end}" if start == end else f"{'falls' if after[target] < before[target] else 'rises'} from {start} to {end}"
    answer = int(model.predicted(after))
    verdict = "still" if answer == int(model.predicted(before)) else "now"
    share = "" if answer == target else f" ({percent(float(after[answer]))})"
    return f"“{model.label(target)}” {moved}; the network {verdict} says “{model.label(answer)}”{share}"
