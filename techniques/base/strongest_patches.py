"""The patches that excite channels most: of any number of pictures the strongest place of each, and what that place has seen of it.

Zeiler and Fergus 2014, arXiv:1311.2901, figure 2 (the nine strongest, one of each picture); the receptive field as the patch: Zhou et al.
2015, arXiv:1412.6856, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.activations import MOST
from techniques.base.hooks import output_of
from techniques.base.receptive_field import Field
from techniques.base.sample import Samples

BATCH = 16  # pictures in one forward pass
NUMBERS = 2 * MOST  # that all patches of an answer hold together: 32 MB


class Best(NamedTuple):
    """For every channel of a layer its strongest places, strongest first: `values` in the unit of the layer, the numbers of the `pictures`,
    and the `places` in the grid, row by row, all `[C, k]`."""

    values: torch.Tensor
    pictures: torch.Tensor
    places: torch.Tensor

    @property
    def order(self) -> torch.Tensor:
        """All channels, the one whose places are strongest on average first, `[C]`."""
        return self.values.mean(1).argsort(descending=True, stable=True)


def strongest_places(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of maps `[..., C, h, w]` each channel's largest value and its place in the grid, row by row, `[..., C]`."""
    return maps.flatten(-2).max(-1)


def with_more(best: Best | None, model: LoadedModel, layer: Layer, pixels: torch.Tensor, first: int, count: int) -> Best:
    """The `count` best places with those of further pictures `[B, C, H, W]`, whose numbers begin at `first`. One of each picture."""
    with torch.no_grad():
        values, places = (found.T for found in strongest_places(layer.maps(output_of(model, layer, pixels))))
    numbers = torch.arange(first, first + len(pixels), device=values.device).expand_as(places)
    found = (values, numbers, places)
    if best:
        found = tuple(torch.cat([old, new], 1) for old, new in zip(best, found))
    order = found[0].argsort(1, descending=True, stable=True)[:, :count]
    return Best(*(each.gather(1, order) for each in found))


@dataclass(eq=False)
class Patches:
    """Cuts patches out of the pictures of a set, and keeps those that were asked for last: the next answer has most of them, too."""

    samples: Samples
    layer: Layer
    field: Field
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
        patch = self.field.crop(self.samples[number].pixels[0, :3], divmod(place, self.layer.grid[1]))
        size = [min(length, int(side)) for length in patch.shape[1:]]
        return torch.nn.functional.interpolate(patch[None], size, mode="area")[0]
