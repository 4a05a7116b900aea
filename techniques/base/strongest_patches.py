"""The patches that excite channels most: of any number of pictures the strongest place of each, and what that place has seen of it.

Zeiler and Fergus 2014, arXiv:1311.2901, figure 2 (the nine strongest, one of each picture); the receptive field as the patch: Zhou et al.
2015, arXiv:1412.6856, section 3.1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.hooks import watching
from techniques.base.receptive_field import Field
from techniques.base.results import Gallery, Picture
from techniques.base.sample import Samples

BATCH = 16  # pictures in one forward pass
NUMBERS = 6 * 2**20  # that all patches of an answer hold together: 24 MB


class Best(NamedTuple):
    """For every channel of a layer its strongest places, strongest first: `values` in the unit of the layer, the numbers of the `pictures`,
    and the `places` in the grid, row by row, all `[C, k]`; and what the model says to each picture so far, classes `[N]`."""

    values: torch.Tensor
    pictures: torch.Tensor
    places: torch.Tensor
    said: torch.Tensor

    @property
    def order(self) -> torch.Tensor:
        """All channels, the one whose places are strongest on average first, `[C]`."""
        return self.values.mean(1).argsort(descending=True, stable=True)


def strongest_places(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of maps `[..., C, h, w]` each channel's largest value and its place in the grid, row by row, `[..., C]`."""
    return maps.flatten(-2).max(-1)


def look_through(model: LoadedModel, layer: Layer, pixels: torch.Tensor, count: int, best: Best | None = None) -> Best:
    """The `count` best places in pictures `[B, C, H, W]`, one of each picture, and those before them; AppError for logits that are not finite."""
    found: list[torch.Tensor] = []

    def see(_name: str, output: torch.Tensor) -> None:
        found[:] = (each.T for each in strongest_places(layer.maps(output)))

    with torch.no_grad(), watching(model, [layer.name], see):
        said = model.predicted(model.valid_logits(pixels))
    values, places = found
    first = len(best.said) if best else 0
    new = (values, torch.arange(first, first + len(pixels), device=values.device).expand_as(places), places)
    if best:
        new, said = tuple(torch.cat([old, more], 1) for old, more in zip(best, new)), torch.cat([best.said, said])
    order = new[0].argsort(dim=1, descending=True, stable=True)[:, :count]
    return Best(*(each.gather(1, order) for each in new), said)


@dataclass(eq=False)
class Patches:
    """Cuts patches out of the pictures of a set, and keeps those that were asked for last: the next answer has most of them, too."""

    samples: Samples
    layer: Layer
    seen: Field
    kept: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)

    def of(self, best: Best, channels: Sequence[int]) -> torch.Tensor:
        """The patches `[N, k, C, h, w]` of these channels, C of 1 or 3; smaller where they would hold more than NUMBERS."""
        wanted = [list(zip(best.pictures[channel].tolist(), best.places[channel].tolist())) for channel in channels]
        side = (NUMBERS / (sum(map(len, wanted)) * 3)) ** 0.5
        kept: dict[tuple[int, int], torch.Tensor] = {}
        for number, place in sorted({key for row in wanted for key in row}):
            kept[number, place] = self.kept[number, place] if (number, place) in self.kept else self._cut(number, place, side)
        self.kept = kept
        return torch.stack([torch.stack([kept[key] for key in row]) for row in wanted])

    def _cut(self, number: int, place: int, side: float) -> torch.Tensor:
        patch = self.seen.crop(self.samples[number].pixels[0, :3], divmod(place, self.layer.grid[1]))
        size = [min(length, int(side)) for length in patch.shape[1:]]
        return torch.nn.functional.interpolate(patch[None], size, mode="area")[0]


def gallery(of: str, patches: torch.Tensor, values: Sequence[float], told: Sequence[tuple[str, str]]) -> Gallery:
    """The patches `[k, C, h, w]` of one channel, each with its picture's name and its value, and which class the model sees most often in
    these pictures; `told` is for each the name of its picture and that class."""
    items = tuple(Picture(patch, caption=f"Patch of {origin}") for patch, (origin, _) in zip(patches, told))
    names = tuple(f"{origin}: {value:.3g}" for value, (origin, _) in zip(values, told))
    label, times = Counter(label for _, label in told).most_common(1)[0]
    seen = f"{times} of these {len(told)} pictures are" if len(told) > 1 else "this picture is"
    return Gallery(items, names, caption=f"{of}: outputs from {values[0]:.3g} to {values[-1]:.3g}; {seen} seen as “{label}”")
