"""What a place of a layer has seen of the picture: its receptive field, measured by the gradient that one unit has at the pixels.

Measured so, it needs no table of strides and kernels and holds for any network. The whole field is every pixel that has a gradient; how much
one pixel counts falls towards its border like a Gaussian, and of a deep layer the whole field is often larger than the picture. What is
looked at is the effective field: the pixels that count for at least 4.55 % of the one that counts most (Luo et al. 2016, arXiv:1701.04128,
section 3: within two standard deviations). As there, gradients are averaged over pictures of noise, and their signs do not count.
Departures: it is a rectangle, and of all channels together, each with a sign drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.batches import batch_size_with_graph, parts
from techniques.base.hooks import gradients_at, output_of
from techniques.base.run import Run

EFFECTIVE = 0.0455  # of what the pixel counts that counts most
PICTURES = 3  # of noise: a rectifier that is closed for one is open for another
MOSTLY = 0.75  # of height and width: who sees so much of the picture is shown all of it
OUTSIDE = 0.5  # what is drawn where a field reaches over the border of the picture


class Edge(NamedTuple):
    """The field along one axis: from `start` on `length` pixels for the place 0, and `step` pixels further for each place."""

    start: float
    step: float
    length: int

    def at(self, place: int) -> int:
        return round(self.start + self.step * place)


class Field(NamedTuple):
    """The effective field of the places of a layer along rows and columns, and how large (height, width) the whole field is in the middle.

    `everywhere` says that each place counts as having seen the whole picture: so do vectors, and layers whose fields do not move
    along with their places."""

    rows: Edge
    columns: Edge
    whole: tuple[int, int]
    everywhere: bool

    @property
    def size(self) -> tuple[int, int]:
        return self.rows.length, self.columns.length

    def box(self, place: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of what a place (row, column) has seen, in pixels; it may reach over the border of the picture."""
        top, left = self.rows.at(place[0]), self.columns.at(place[1])
        return top, left, top + self.rows.length, left + self.columns.length

    def crop(self, pixels: torch.Tensor, place: tuple[int, int]) -> torch.Tensor:
        """That part of a picture `[C, H, W]`, `[C, *size]`; grey where there is no picture."""
        top, left, bottom, right = self.box(place)
        height, width = pixels.shape[1:]
        inside = pixels[:, max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        border = (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height))
        return torch.nn.functional.pad(inside, border, value=OUTSIDE)

    def told(self) -> str:
        """A sentence about its size."""
        if self.everywhere:
            return "A place of this layer may have seen nearly all of the picture, so whole pictures are shown."
        sizes = f"{self.size[0]} × {self.size[1]} px"
        whole = "" if self.whole == self.size else f"; with what hardly counts it is {self.whole[0]} × {self.whole[1]} px"
        return f"What a place of this layer has seen is {sizes} large{whole}."


def receptive_field(model: LoadedModel, layer: Layer, run: Run) -> Field:
    """The field of a layer's places, from one pass of a few pictures and one way back for each of five places."""
    size = model.preprocessing.size
    everywhere = Field(*(Edge(0.0, 0.0, side) for side in size), size, True)
    if layer.kind == "vector" or not layer.local:
        return everywhere
    places = [tuple(int(share * (side - 1)) for side in layer.grid) for share in (0.0, 0.5, 1.0, 0.25, 0.75)]
    counts = _counts(model, layer, places, run)
    edges = [_edge([place[axis] for place in places], [count.amax(1 - axis) for count in counts], layer.grid[axis]) for axis in (0, 1)]
    whole = tuple(len(_extent(counts[1].amax(1 - axis), 0.0)) for axis in (0, 1))
    mixed = layer.kind == "tokens" and whole == size  # by attention; a patch counts most for itself, since it is handed on as it is
    if mixed or None in edges or all(edge.length >= MOSTLY * side for edge, side in zip(edges, size)):
        return everywhere
    return Field(*edges, whole, False)


def _counts(model: LoadedModel, layer: Layer, places: Sequence[tuple[int, int]], run: Run) -> list[torch.Tensor]:
    """How much each pixel counts for each of the places: the size of the gradient, summed over pictures and colours, `[H, W]`."""
    generator, preprocessing = torch.Generator().manual_seed(0), model.preprocessing
    pictures = torch.rand(PICTURES, preprocessing.channels, *preprocessing.size, generator=generator).to(model.device)
    signs = torch.randint(2, (PICTURES, layer.channels), generator=generator).to(model.device) * 2.0 - 1
    counts = [torch.zeros(preprocessing.size) for _ in places]
    for part in parts(range(PICTURES), batch_size_with_graph(model, layer, preprocessing.size)):
        run.check()
        pixels = pictures[part.start : part.stop].requires_grad_(True)
        with torch.enable_grad():
            maps = layer.maps(output_of(model, layer, pixels))
            for count, (row, column) in zip(counts, places):
                (gradient,) = gradients_at((maps[:, :, row, column] * signs[part.start : part.stop]).sum(), [pixels], again=True)
                count += gradient.abs().sum((0, 1)).cpu()
    return counts


def _extent(counts: torch.Tensor, least: float) -> range:
    """The pixels along an axis, from the first to the last, that count for more than a share of the one that counts most."""
    found = (counts > least * counts.max()).nonzero().flatten().tolist()
    return range(found[0], found[-1] + 1) if found else range(0)


def _edge(places: Sequence[int], counts: Sequence[torch.Tensor], grid: int) -> Edge | None:
    """The field along one axis from what counts `[side]` for the first, the middle, the last and two other places; None where fields do
    not move along with the places, or nothing counts."""
    side, extents = len(counts[0]), [_extent(count, 0.0) for count in counts]
    if not all(extents):
        return None
    step, middle = _step(places, extents, side) or side / grid, extents[1]
    for place, extent in zip(places, extents):
        for edge, own, border in ((extent.start, middle.start, 0), (extent.stop, middle.stop, side)):
            expected = own + step * (place - places[1])
            if own != border and 0 < expected < side and abs(edge - expected) > 1 + step:
                return None
    effective = _extent(counts[1], EFFECTIVE)
    return Edge(effective.start - step * places[1], step, len(effective))


def _step(places: Sequence[int], extents: Sequence[range], side: int) -> float | None:
    """Pixels between the fields of neighbours, from edges that the border of the picture does not cut off; None where it cuts all."""
    (first, middle, last), (above, own, below) = places[:3], extents[:3]
    steps = []
    if own.stop < side and middle > first:
        steps.append((own.stop - above.stop) / (middle - first))
    if own.start > 0 and last > middle:
        steps.append((below.start - own.start) / (last - middle))
    return sum(steps) / len(steps) if steps else None
