"""From noise to the finished picture: some of the steps of a climb, evenly spaced, as the frames of an animation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from model_zoo.deferred import torch
from techniques.base.results import Animation

MOST = 33  # frames: every second step of 64, and the end
RATE = 8.0  # frames per second
SIDE = 384  # pixels that all pictures of a frame may take together, in each direction


@dataclass
class Frames:
    """What is kept of a climb of so many `steps`, for `count` pictures that share a frame."""

    steps: int
    count: int
    kept: dict[int, torch.Tensor] = field(default_factory=dict)

    def see(self, step: int, pictures: torch.Tensor) -> None:
        """The pictures `[n, C, H, W]` that a step begins with; the last ones come at the step after the last."""
        if step in self._wanted:
            self.kept[step] = _shrunk(pictures, self.count)

    @property
    def _wanted(self) -> set[int]:
        count = min(MOST, self.steps + 1)
        return {round(number * self.steps / max(1, count - 1)) for number in range(count)}


def animation(recorded: list[Frames], columns: int, caption: str) -> Animation:
    """The pictures of one climb, or of several that were recorded at the same steps, in each frame: picture by picture, for each climb.
    `columns` is how many make a row; with 0 they make a square."""
    steps = sorted(recorded[0].kept)
    columns = columns or math.ceil(math.sqrt(recorded[0].count))
    frames = [mosaic(torch.stack([frames.kept[step] for frames in recorded], 1).flatten(0, 1)[:, :3], columns) for step in steps]
    return Animation(torch.stack(frames), RATE, tuple(f"step {step}" for step in steps), caption=caption)


def mosaic(pictures: torch.Tensor, columns: int) -> torch.Tensor:
    """Pictures `[N, C, H, W]` row by row in one `[C, rows * H, columns * W]`; places that stay empty are white."""
    count, channels, height, width = pictures.shape
    rows = math.ceil(count / columns)
    cells = torch.cat([pictures, pictures.new_ones(rows * columns - count, channels, height, width)])
    return cells.view(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def _shrunk(pictures: torch.Tensor, count: int) -> torch.Tensor:
    """The pictures on the CPU, small enough that `count` of them make no more than SIDE pixels in each direction; one keeps its size."""
    side = SIDE // math.ceil(math.sqrt(count))
    if count > 1 and max(pictures.shape[2:]) > side:
        factor = side / max(pictures.shape[2:])
        size = [max(1, round(factor * length)) for length in pictures.shape[2:]]
        pictures = torch.nn.functional.interpolate(pictures, size, mode="area")
    return pictures.cpu()
