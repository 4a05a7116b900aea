"""Where a network answers differently to two pictures, or to two kinds of pictures: for every filter its average
activation over each group, and the difference of the two.

The comparison of CNN Visualizer (bachelor thesis, Charles University 2022), there for Keras models. What is averaged
is the output of each convolution and linear layer itself, before a batch norm or a ReLU that follows it, so it has
both signs (in Keras a layer may contain its ReLU). Convolutions give maps; a linear layer over patches gives maps
on the grid of the patches, class token left out; any other linear layer is one rectangle of all its units, row by
row, its sides the two factors of their number nearest to a square (1000 units are 25 x 40, a prime number is one
row). Filters are ordered by the norm of their difference. Beyond the thesis: groups that have names, such as the
folders of a zip.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from techniques.base import Help, LoadedModel, ParameterError, Run, Samples, technique
from techniques.base.activations import BATCH, average_maps
from techniques.base.comparison import ORDERS, Answer, answer, compare, is_saved, restored


@technique(
    title="Average activation",
    family="What is inside",
    paper="CNN Visualizer, bachelor thesis, Charles University 2022",
    order=10,
    limits="A large difference is no cause: the network may not use it. Averages over pictures blur what stands at different "
    "places, and norms of layers of different size are not comparable as numbers: a larger map has more to sum.",
    why_not=lambda model: None if any(layer.weighted for layer in model.layers) else "no convolution or linear layer of it can be read.",
    saved=(is_saved, restored),
)
def average_activation(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    groups: Annotated[
        Literal["pictures", "classes", "named groups"],
        Help(
            "Two pictures against each other, the two classes that are predicted most often among many pictures, "
            "or the two largest groups that have names, such as folders."
        ),
    ] = "pictures",
    norm: Annotated[Literal["1", "2", "infinity"], Help("Order of the norm by which differences are ranked.")] = "2",
    logarithmic: Annotated[bool, Help("Draw the counts of the histograms on a logarithmic scale.")] = True,
) -> Answer:
    """Average outputs per group, in the layer's own unit, and their difference, first minus second, on one scale.

    Raises ParameterError when the pictures do not make two groups.
    """
    if groups == "classes":
        pair = two_classes(samples, model, run)
    else:
        pair = two_pictures(samples) if groups == "pictures" else two_groups(samples)
    layers = [layer for layer in model.layers if layer.weighted]
    first, second = average_maps(model, layers, list(pair.values()), run)
    compared = [compare(layer, first.pop(layer.name), second.pop(layer.name), ORDERS[norm]) for layer in layers]
    left = len(samples) - sum(len(group) for group in pair.values())
    others = f" {left} picture{'s' * (left > 1)} of other {'classes' if groups == 'classes' else 'groups'} left out." if left else ""
    return answer(compared, tuple(pair), norm, logarithmic, others)


def two_pictures(samples: Samples) -> dict[str, Samples]:
    """Each of exactly two pictures as a group of its own, by name."""
    if len(samples) != 2:
        other = "named groups" if len(samples.groups) > 1 else "classes"
        hint = ("Add two.", "Add another one.")[len(samples)] if len(samples) < 2 else f"Choose two of them, or set groups to {other}."
        raise ParameterError(f"Comparing pictures takes exactly two of them; received {len(samples)}. {hint}")
    names = samples.origins
    if names[0] == names[1]:
        names = [f"{names[0]} (first)", f"{names[1]} (second)"]
    return {name: samples.only([position]) for position, name in enumerate(names)}


def two_groups(samples: Samples) -> dict[str, Samples]:
    """The pictures of the two largest named groups, by name; among equals the group seen first."""
    groups = sorted(samples.groups.items(), key=lambda item: -len(item[1]))
    if len(groups) < 2:
        found = f"only “{groups[0][0]}”" if groups else "none"
        raise ParameterError(
            f"Comparing named groups takes pictures of two of them; received {found}. Add a zip or a folder with one folder per group."
        )
    return {_counted(name, len(group)): group for name, group in groups[:2]}


def two_classes(samples: Samples, model: LoadedModel, run: Run) -> dict[str, Samples]:
    """The pictures of the two most frequent predicted classes, by name; among equals the class seen first."""
    if len(samples) < 2:
        raise ParameterError(f"Comparing classes takes at least two pictures; received {len(samples)}. Add pictures of another kind.")
    predicted: list[int] = []
    for part in run.steps(samples.batches(BATCH), "Predicting, batch"):
        predicted += model.predicted(model.probabilities(part.pixels)).tolist()
    frequent = Counter(predicted).most_common(2)
    if len(frequent) < 2:
        label = model.label(predicted[0])
        raise ParameterError(
            f"All {len(samples)} pictures are predicted as “{label}”, and comparing needs two classes. Add pictures of another kind."
        )
    return {
        _counted(model.label(index), count): samples.only(position for position, found in enumerate(predicted) if found == index)
        for index, count in frequent
    }


def _counted(name: str, count: int) -> str:
    return f"{name} ({count} picture{'s' * (count > 1)})"
