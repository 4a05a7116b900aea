"""Which places share the strongest pattern of one layer, whatever the class: often the main object, since most of what a deep
layer holds is about it.

Eigen-CAM: Muhammad and Yeasin 2020, arXiv:2008.00299, section III: the layer's maps as a matrix of places by channels, its singular
value decomposition, and the projection of each place on the first right singular vector. Departures: the sign, which the
decomposition leaves open, is chosen so that the map adds up to more than zero, or when the mean is taken away first, so that the
value farthest from zero is above it; and that mean of each channel may be taken away (principal component analysis, as
pytorch-grad-cam does).
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from techniques.base import Heatmap, Help, LayerName, LoadedModel, Predictions, Run, Sample, technique, torch
from techniques.base.class_maps import doubt, enlarged, layer_to_read, maps_of_layer, no_places, predictions


class Answer(NamedTuple):
    eigen_cam: Heatmap
    predictions: Predictions


@technique(
    title="Eigen-CAM",
    family="Regions",
    paper="arXiv:2008.00299",
    order=50,
    limits="It knows nothing of classes: it is the same for every one of them, and says what the layer holds, not what the answer is made of. "
    "What is strongest may be the background.",
    why_not=no_places,
)
def eigen_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    layer: LayerName = None,
    centred: Annotated[bool, Help("Take away the mean of each channel first: what sets places apart, not what they share.")] = False,
) -> Answer:
    """A map `[H, W]` in the unit of the layer's activations; signed where values lie below zero. Raises IncompatibleModel for a layer
    without a grid."""
    chosen = layer_to_read(model, layer)
    run.check()
    maps, logits = maps_of_layer(sample, model, chosen)
    run.check()
    values, share = first_component(maps, centred)
    values = enlarged(values[None, None], sample.pixels.shape[2:])[0, 0]
    what = "what sets the places apart" if centred else "what they hold"
    caption = f"The strongest pattern in {chosen.name}: it makes up {100 * share:.0f} % of {what}{doubt(chosen)}"
    heat = Heatmap(values, signed=bool((values < 0).any()), unit="activation", caption=caption)
    return Answer(heat, predictions(sample, model, logits))


def first_component(maps: torch.Tensor, centred: bool) -> tuple[torch.Tensor, float]:
    """The projection `[h, w]` of maps `[C, h, w]` on their first right singular vector, and its share of the sum of squares."""
    places = maps.flatten(1).T
    if centred:
        places = places - places.mean(0)
    _, sizes, vectors = torch.linalg.svd(places, full_matrices=False)
    values = places @ vectors[0]
    direction = values[values.abs().argmax()] if centred else values.sum()
    values = -values if direction < 0 else values
    return values.reshape(maps.shape[1:]), float(sizes[0] ** 2 / sizes.square().sum().clamp(min=torch.finfo(sizes.dtype).tiny))
