"""Two groups of pictures, layer by layer: which filters answer differently, and every way to look at it.

A linear layer is one rectangle of all its units, row by row, its sides the two factors of their number nearest to a square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from model_zoo.deferred import torch
from model_zoo.errors import UploadError
from model_zoo.layers import Layer
from techniques.base.activations import histograms, rectangle
from techniques.base.results import Browser, Curve, Gallery, Heatmap, Histogram, Note
from techniques.base.stack import Stack

ORDERS = {"1": 1, "2": 2, "infinity": math.inf}
CLOSE = 1e-3  # of the norm; a saved norm and the one made from the saved averages differ by rounding only
LARGEST = 1e30  # differences and norms of smaller numbers are numbers, too; comparing with it refuses what is not finite
LONGEST_NAME = 120  # characters of a layer's or group's name in a file


class Answer(NamedTuple):
    browser: Browser
    layer_average: Browser
    histogram: Browser
    layers: Curve
    note: Note


class Comparison(NamedTuple):
    """One layer for both groups. `norms` holds a number per filter or unit; `names` and the arrays of `stacked` (first
    and second average `[N, h, w]`, norm `[N]`, filter number `[N]`) an entry per map, largest norm first."""

    layer: str
    norms: torch.Tensor
    names: tuple[str, ...]
    stacked: dict[str, torch.Tensor]

    @property
    def parts(self) -> str:
        """What the layer has one of per norm."""
        return "filter" if "filter" in self.stacked else "unit"


def compare(layer: Layer, first: torch.Tensor, second: torch.Tensor, order: float) -> Comparison:
    """Rank the filters of two averages `[C, h, w]` by the norm of their difference; a vector becomes one rectangle."""
    difference = (first - second).flatten(1)
    norms = torch.linalg.vector_norm(difference, order, dim=1)
    if layer.kind == "vector":
        shape = (1, *rectangle(layer.channels))
        stacked = {"first": first.view(shape), "second": second.view(shape), "norm": torch.linalg.vector_norm(difference, order).view(1)}
        return _of_units(layer.name, stacked)
    ranking = norms.argsort(descending=True, stable=True)
    return _of_filters(layer.name, {"first": first[ranking], "second": second[ranking], "norm": norms[ranking], "filter": ranking})


def _of_units(layer: str, stacked: dict[str, torch.Tensor]) -> Comparison:
    """Of a single number every norm is its size."""
    norms = (stacked["first"] - stacked["second"]).abs().flatten()
    return Comparison(layer, norms, (f"all {len(norms)} units",), stacked)


def _of_filters(layer: str, stacked: dict[str, torch.Tensor]) -> Comparison:
    return Comparison(layer, stacked["norm"], tuple(f"filter {number}" for number in stacked["filter"].tolist()), stacked)


def answer(compared: Sequence[Comparison], names: tuple[str, str], norm: str, logarithmic: bool, others: str = "") -> Answer:
    """Every panel for two groups of these names; `others` is a sentence about pictures that were left out."""
    return Answer(
        Browser(
            ("layer", "filter"),
            {c.layer: Stack(c.names, c.stacked, partial(_filter_cell, c.layer, names)) for c in compared},
            caption=f"Average activation, filters ordered by norm {norm} of the difference, largest first",
        ),
        Browser(("layer",), {c.layer: _layer_cell(c) for c in compared}, caption="Difference, averaged over the filters of a layer"),
        Browser(
            ("layer", "filter"),
            {c.layer: _histogram_stack(c, names, logarithmic) for c in compared},
            caption="How the values of the two average activations are distributed",
        ),
        _curve(compared, norm),
        Note(_story(names, compared, norm) + others),
    )


def _filter_cell(layer: str, names: tuple[str, str], name: str, entry: Mapping[str, Any]) -> Gallery:
    maps = (entry["first"], entry["second"], entry["first"] - entry["second"])
    caption = f"{layer}, {name}: norm of the difference {float(entry['norm']):.3g}"
    return Gallery(tuple(Heatmap(values, signed=True) for values in maps), (*names, "difference"), caption=caption)


def _layer_cell(comparison: Comparison) -> Gallery:
    difference = comparison.stacked["first"] - comparison.stacked["second"]
    maps = (Heatmap(difference.mean(0), signed=True), Heatmap(difference.abs().mean(0)))
    return Gallery(maps, ("average difference", "average size of the difference"), caption=comparison.layer)


def _histogram_stack(comparison: Comparison, names: tuple[str, str], logarithmic: bool) -> Stack:
    """The histogram of the whole layer, then one per filter where there is more than one."""
    first, second = (comparison.stacked[key].flatten(1) for key in ("first", "second"))
    positions, found = comparison.names, histograms(first, second)
    if len(positions) > 1:
        layer = histograms(first.reshape(1, -1), second.reshape(1, -1))
        positions, found = ("all filters", *positions), {key: torch.cat([layer[key], found[key]]) for key in found}
    return Stack(positions, found, partial(_histogram_cell, comparison.layer, names, logarithmic))


def _histogram_cell(layer: str, names: tuple[str, str], logarithmic: bool, name: str, entry: Mapping[str, Any]) -> Histogram:
    counts = dict(zip(names, (entry["first"], entry["second"])))
    return Histogram(entry["edges"], counts, x_label="average activation", log=logarithmic, caption=f"{layer}, {name}")


def _curve(compared: Sequence[Comparison], norm: str) -> Curve:
    """Average, smallest and largest norm over the filters (or units) of each layer."""
    summaries = {"average": torch.Tensor.mean, "smallest": torch.Tensor.amin, "largest": torch.Tensor.amax}
    return Curve(
        torch.arange(len(compared)),
        {name: torch.stack([summary(c.norms) for c in compared]) for name, summary in summaries.items()},
        x_label="layer",
        y_label=f"norm {norm} of a filter's difference",
        ticks=tuple(c.layer for c in compared),
        caption="How far apart the two groups are in the filters of each layer; click on a layer to see it",
    )


def _story(names: tuple[str, str], compared: Sequence[Comparison], norm: str) -> str:
    """Who was compared, and where the largest difference is."""
    most = max(compared, key=lambda c: float(c.norms.max()))
    place = int(most.norms.argmax())
    number = int(most.stacked["filter"][place]) if most.parts == "filter" else place
    return (
        f"{' against '.join(names)}: the difference is largest in layer {most.layer}, {most.parts} {number} "
        f"(norm {norm}: {float(most.norms.max()):.3g})."
    )


def is_saved(name: str) -> bool:
    """Whether a saved answer is made again from the array of this name; all others follow from these."""
    return name.startswith("browser.") and name.rpartition("/")[2] in ("first", "second", "norm", "filter")


def restored(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Answer:
    """The answer that was saved as these arrays: layers in their order, filters in theirs, without the model.

    Names of groups come from the manifest, which may be empty. Raises UploadError when the arrays are no such answer.
    """
    by_layer: dict[str, dict[str, torch.Tensor]] = {}
    for name, array in arrays.items():
        layer, _, key = name.removeprefix("browser.").rpartition("/")
        by_layer.setdefault(layer, {})[key] = torch.from_numpy(np.array(array))
    compared = [_checked(layer, stacked) for layer, stacked in by_layer.items()]
    if not compared:
        raise UploadError("This file holds no average activations. Expected what Download gives on this page.")
    settings = manifest.get("settings")
    logarithmic = settings.get("logarithmic") is not False if isinstance(settings, Mapping) else True
    with torch.inference_mode(False), torch.no_grad():
        return answer(compared, _names(manifest), _norm(compared), logarithmic)


def _checked(layer: str, stacked: dict[str, torch.Tensor]) -> Comparison:
    """One layer of a file, every array as large as the others say and every number finite."""
    first, second, norm, number = (stacked.get(key) for key in ("first", "second", "norm", "filter"))
    fault = UploadError(f"The layer “{layer[:LONGEST_NAME]}” of this file is damaged. Expected what Download gives on this page.")
    if first is None or second is None or norm is None or not 0 < len(layer) <= LONGEST_NAME:
        raise fault
    if first.ndim != 3 or not first.numel() or second.shape != first.shape:
        raise fault
    usable = [array.is_floating_point() and bool((array.abs() < LARGEST).all()) for array in (first, second, norm)]
    if not all(usable) or norm.shape != first.shape[:1] or (number is None and len(first) != 1):
        raise fault
    if number is None:
        return _of_units(layer, {"first": first.float(), "second": second.float(), "norm": norm.float()})
    if number.shape != norm.shape or number.is_floating_point() or int(number.min()) < 0 or len(number.unique()) < len(number):
        raise fault
    return _of_filters(layer, {"first": first.float(), "second": second.float(), "norm": norm.float(), "filter": number.long()})


def _norm(compared: Sequence[Comparison]) -> str:
    """The order of the norm that the saved numbers are: the first that gives them; none in a file that was changed."""
    for name, order in ORDERS.items():
        made = [torch.linalg.vector_norm((c.stacked["first"] - c.stacked["second"]).flatten(1), order, dim=1) for c in compared]
        if all(torch.allclose(norms, c.stacked["norm"], rtol=CLOSE, atol=1e-6) for norms, c in zip(made, compared)):
            return name
    raise UploadError("The norms in this file do not belong to its averages. Expected what Download gives on this page.")


def _names(manifest: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the two groups."""
    panels = manifest.get("panels")
    for panel in panels if isinstance(panels, list) else ():
        names = panel.get("names") if isinstance(panel, dict) and panel.get("name") == "browser" else None
        if isinstance(names, list) and len(names) == 3 and all(isinstance(name, str) and name for name in names) and names[0] != names[1]:
            return names[0][:LONGEST_NAME], names[1][:LONGEST_NAME]
    return "first group", "second group"
