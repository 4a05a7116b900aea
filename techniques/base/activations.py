"""What layers put out, averaged over any number of pictures, and the forms in which it is looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from model_zoo.deferred import torch
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.hooks import watching
from techniques.base.results import Gallery, Heatmap
from techniques.base.run import Run
from techniques.base.sample import Samples
from techniques.base.stack import Stack

BATCH = 16  # pictures in one forward pass
BINS = 32
MOST = 4 * 2**20  # numbers that an answer keeps of one layer: 16 MB


def average_maps(model: LoadedModel, layers: Sequence[Layer], groups: Sequence[Samples], run: Run) -> list[dict[str, torch.Tensor]]:
    """For each group of pictures the mean output `[C, h, w]` of every layer, by the layer's name.

    Sums run over the pictures batch by batch: memory does not grow with their number. A layer that runs several
    times in one pass counts with its last output, as in `model.layers`.
    """
    by_name = {layer.name: layer for layer in layers}
    batch: dict[str, torch.Tensor] = {}
    sums: list[dict[str, torch.Tensor]] = [{} for _ in groups]

    def see(name: str, output: torch.Tensor) -> None:
        batch[name] = by_name[name].maps(output).sum(0)

    work = [(total, part) for total, group in zip(sums, groups) for part in group.batches(BATCH)]
    with torch.no_grad(), watching(model, by_name, see):
        for total, part in run.steps(work, "Batch"):
            model.logits(part.pixels)
            for name, value in batch.items():
                total[name] = total[name].add_(value) if name in total else value
            batch.clear()
    return [{name: total[name] / len(group) for name in by_name} for total, group in zip(sums, groups)]


def rectangle(count: int) -> tuple[int, int]:
    """(rows, columns): the two factors of `count` nearest to a square, rows not more than columns; one row for a prime."""
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    return rows, count // rows


def shrunk(maps: torch.Tensor, most: int = MOST) -> torch.Tensor:
    """Maps `[N, h, w]` as they are where they hold at most `most` numbers; else means over neighbouring places on a grid that does."""
    if maps.numel() <= most:
        return maps
    side = max(1, math.isqrt(most // len(maps)))
    height, width = maps.shape[1:]
    return torch.nn.functional.adaptive_avg_pool2d(maps[None], (min(height, side), min(width, side)))[0]


def laid_out(places: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Places `[h, w]` of a layer's grid at the size of the picture `[H, W]`, each a rectangle of its own value: nothing is smoothed."""
    rows, columns = (np.arange(side) * count // side for side, count in zip(size, places.shape))
    return places[np.ix_(rows, columns)]


def activations_and_blocks(model: LoadedModel) -> list[Layer]:
    """All layers that neither weigh nor normalise; all there are where there are no others."""
    return [layer for layer in model.layers if not (layer.weighted or "Norm" in layer.type)] or list(model.layers)


def word_for(layer: Layer) -> str:
    """What one of its channels is called."""
    return "unit" if layer.kind == "vector" else "channel"


def stack_of_maps(names: tuple[str, ...], maps: torch.Tensor, layer: str, size: tuple[int, int] | None, unit="", reach=None, **more) -> Stack:
    """Maps `[N, h, w]` as cells over a picture of this size, or as they are; all are signed where one is."""
    return Stack(names, {"activation": maps, **more}, partial(_cell_of_map, layer, size, bool(maps.min() < 0), unit, reach), "activation")


def _cell_of_map(layer: str, size: tuple | None, signed: bool, unit: str, reach: float | None, name: str, entry: Mapping[str, Any]) -> Gallery:
    """One map on the scale of the largest of all, or without a `reach` on its own."""
    values = entry["activation"]
    caption = f"{layer}, {name}" if layer else name
    item = Heatmap(laid_out(values, size) if size else values, signed=signed, unit=unit, caption=caption)
    told = f"{caption}: from {float(values.min()):.3g} to {float(values.max()):.3g}, mean {float(values.mean()):.3g}"
    return Gallery((item,), ("output",), reach=reach or 0.0, scale="own" if reach is None else "common", caption=told)


def histograms(first: torch.Tensor, second: torch.Tensor) -> dict[str, torch.Tensor]:
    """How the values of each row of two arrays `[N, values]` are distributed.

    Counts `[N, BINS]` under "first" and "second", between common "edges" `[N, BINS + 1]` from the smallest to the
    largest value of the row in either; a row that is constant gets edges half a unit to each side.
    """
    low, high = torch.minimum(first.amin(1), second.amin(1)), torch.maximum(first.amax(1), second.amax(1))
    margin = (low == high) * 0.5
    low, width = (low - margin)[:, None], (high - low + 2 * margin)[:, None]

    def counts(values: torch.Tensor) -> torch.Tensor:
        bins = ((values - low) / width * BINS).long().clamp(0, BINS - 1)
        return torch.zeros(len(values), BINS, dtype=torch.int64, device=values.device).scatter_add_(1, bins, torch.ones_like(bins))

    edges = low + width * torch.linspace(0, 1, BINS + 1, device=first.device)
    return {"edges": edges, "first": counts(first), "second": counts(second)}


def relative_changes(
    model: LoadedModel, layers: Sequence[Layer], pixels: torch.Tensor, others: torch.Tensor
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """How far what each layer puts out for `others` lies from what it puts out for `pixels`, both `[B, C, H, W]`: the Euclidean distance
    as a share of the length of the latter, `[B]` by the layer's name; and the logits of both `[2 B, K]`, from one pass.

    A layer that runs several times in one pass counts with its last output. Where a layer put out nothing but zeros, any change is 1.
    """
    found: dict[str, torch.Tensor] = {}

    def see(name: str, output: torch.Tensor) -> None:
        before, after = (half.reshape(len(pixels), -1).double() for half in output.chunk(2))
        moved, size = (after - before).norm(dim=1), before.norm(dim=1)
        found[name] = torch.where(size > 0, moved / size, (moved > 0).double())

    with torch.no_grad(), watching(model, [layer.name for layer in layers], see):
        logits = model.logits(torch.cat([pixels, others]))
    return found, logits


def without(layer: Layer, output: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """The layer's output `[B, ...]` with one channel at zero, the same for all or one for each; prefix tokens are left as they are."""
    keep = torch.arange(layer.channels, device=output.device) != channels[..., None]
    if layer.kind == "vector":
        return (output.flatten(1) * keep).view_as(output)
    if layer.kind == "tokens":
        prefix, patches = output[:, : layer.prefix_tokens], output[:, layer.prefix_tokens :]
        return torch.cat([prefix, patches * keep[..., None, :]], 1)
    return output * (keep[..., None, None, :] if layer.channels_last else keep[..., :, None, None])
