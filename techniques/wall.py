"""Many heat maps at once: a row for each picture, model and class, a column for each technique. Where the columns of a row
differ, at most one of them is right.

Small multiples after Tufte 1990, Envisioning Information, chapter 4. Maps of different techniques have different units, so
each column has a scale of its own, and techniques are compared by the order in which they put the pixels: Spearman's rank
correlation of absolute values, and for each row the standard deviation of the ranks, pixel by pixel. The class maps of one
layer share their forward pass.

True beside predicted class, and model beside model: as in a course report of 2024 on SqueezeNet and VGG-16. The true class
of a picture is the group it belongs to, where the model has a class of this name, or the class chosen by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

import numpy as np

from techniques.base import (
    TECHNIQUES, Gallery, Heatmap, Help, IncompatibleModel, LayerName, LoadedModel, Note, ParameterError, Run, Sample, Samples, Seed, Several, Table,
    TargetClass, technique,
)  # fmt: skip
from techniques.base.agreement import disagreement, mean_rank_correlations
from techniques.base.hooks import sharing_passes
from techniques.base.maps import HeatMaps, Question, nothing_fits
from techniques.base.models_at_hand import THIS, at_hand, models_at_hand, same_class

MOST = 64  # maps on one wall
PROBABLE = 3
ALIKE = "Rank correlation of two techniques, mean over the rows: 1 for the same order of pixels, 0 for none in common"
CHOSEN = "chosen"  # the layer of the header, or the model's own choice
DEPTHS = {"25 %": 0.25, "50 %": 0.5, "75 %": 0.75}  # of the layers that have places, up to the model's own choice


Row = NamedTuple("Row", [("sample", Sample), ("model", LoadedModel), ("target", int), ("name", str)])
Column = NamedTuple("Column", [("technique", str), ("layer", str)])  # CHOSEN, one of DEPTHS, or a name


class Answer(NamedTuple):
    wall: Gallery
    agreement: Table | None
    disagreement: Gallery | None
    note: Note


def places_at_hand() -> dict[str, str]:
    """Title by name: the chosen layer, and layers by their depth."""
    return {CHOSEN: "The chosen layer", **{name: f"{name} of the way" for name in DEPTHS}}


@technique(
    title="Wall",
    family="Compare",
    paper="Tufte 1990, Envisioning Information",
    order=10,
    limits="Techniques that agree may share one mistake: several only show edges, whatever the network does. Maps of one column are on one "
    "scale, those of different columns are not. A high rank correlation may come from large parts that no technique marks.",
    why_not=nothing_fits,
)
def wall(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    methods: HeatMaps = ("grad_cam", "saliency", "occlusion"),
    classes: Annotated[
        Literal["one class", "true and predicted", "most probable"],
        Help("The chosen class, or else the predicted one; the true class (the group, or the chosen one) beside it; or the three most probable."),
    ] = "one class",
    models: Annotated[
        tuple[str, ...], Several(models_at_hand, "or the key of another model"), Help("Networks to put below each other, of those on this machine.")
    ] = (THIS,),
    layers: Annotated[
        tuple[str, ...], Several(places_at_hand, "or the name of a layer"), Help("For techniques that read a layer; more layers are more columns.")
    ] = (CHOSEN,),
    scale: Annotated[
        Literal["one per column", "each its own"], Help("Maps of one technique can be compared by their numbers, or each by its own shape.")
    ] = "one per column",
    target: TargetClass = None,
    layer: LayerName = None,
    seed: Seed = 0,
) -> Answer:
    """Maps `[H, W]` in the units of their techniques, row by row; rank correlations from -1 to 1, mean over the rows; and for each
    row the disagreement `[H, W]`, from 0 to 0.5 of a rank. Raises ParameterError for more than 64 maps or a model that has to be downloaded."""
    for name in set(layers) - set(places_at_hand()):
        model.layer(name)  # one that no layer has is told before any work
    used = [model if key == THIS else at_hand(key) for key in models]
    label = None if target is None else model.label(target)
    rows = [row for sample in samples for other in used for row in _rows(sample, other, model, label, classes, run)]
    columns = [column for name in methods for column in _columns(name, layers)]
    if len(rows) * len(columns) > MOST:
        raise ParameterError(f"This wall would have {len(rows)} × {len(columns)} maps; it holds {MOST}. Choose fewer pictures, classes or techniques.")
    done: list[list[Heatmap]] = []
    refused: dict[str, None] = {}
    for number, row in enumerate(rows):
        maps: list[Heatmap] = []
        with run.holding_beside(model.lock, row.model.lock), sharing_passes():
            for place, column in enumerate(columns):
                part = run.part(number * len(columns) + place, len(rows) * len(columns), f"{TECHNIQUES[column.technique].title}, {row.name}")
                part.check()
                maps.append(_cell(row, column, layer if row.model is model else None, seed, part, refused))
        done.append(maps)
        run.show(lambda: _answer(rows, columns, done, scale, refused, samples))
    return _answer(rows, columns, done, scale, refused, samples)


def _rows(sample: Sample, model: LoadedModel, chosen_on: LoadedModel, label: str | None, classes: str, run: Run) -> Iterator[Row]:
    """The picture for this model, once for each class. A class that the model does not have is left out."""
    if model is not chosen_on:
        sample = sample.fit(model)
    with run.holding_beside(chosen_on.lock, model.lock):
        shares = model.probabilities(sample.pixels.to(model.device))[0].cpu()
    predicted = int(model.predicted(shares))
    named, group = (same_class(model, name) for name in (label, sample.group))
    chosen = group if named is None else named
    found = {
        "one class": [predicted if named is None else named],
        "true and predicted": [predicted] if chosen is None else [chosen, predicted],
        "most probable": shares[: model.named].argsort(descending=True, stable=True)[:PROBABLE].tolist(),
    }[classes]
    for index in dict.fromkeys(found):
        of = "" if model is chosen_on else f", {model.title}"
        yield Row(sample, model, index, f"{sample.origin}{of}: {model.label(index)} {100 * shares[index]:.0f} %")


def _columns(name: str, layers: tuple[str, ...]) -> list[Column]:
    reads_a_layer = any(param.kind == "layer" for param in TECHNIQUES[name].params)
    return [Column(name, layer) for layer in (layers if reads_a_layer else (CHOSEN,))]


def _cell(row: Row, column: Column, layer: str | None, seed: int, run: Run, refused: dict[str, None]) -> Heatmap:
    """One map over its picture; zeros, and the reason among the `refused`, where there is none."""
    technique, below = TECHNIQUES[column.technique], row.sample.pixels[0]
    name = technique.title
    if column.layer != CHOSEN:
        layer = _layer_at(row.model, DEPTHS[column.layer]) if column.layer in DEPTHS else column.layer
        name = f"{name}, {layer}"
    reason = technique.why_not(row.model)
    try:
        if reason:
            raise IncompatibleModel(f"Not for {row.model.title}: {reason}")
        found = Question.about(column.technique, target=row.target, layer=layer, seed=seed).answer(row.sample, row.model, run)
    except (IncompatibleModel, ParameterError) as refusal:  # another model may have no layer of this name
        refused[f"{name}: {refusal}"] = None
        return Heatmap(np.zeros(below.shape[1:], np.float32), caption=f"{name}: no map", below=below)
    return Heatmap(found.values, signed=found.signed, unit=found.unit, caption=name, below=below if found.below is None else found.below)


def _layer_at(model: LoadedModel, depth: float) -> str | None:
    """The name of a layer with places, from the first one to the model's own choice; later ones may move no logit."""
    names = [layer.name for layer in model.spatial_layers()]
    last = names.index(model.default_layer) if model.default_layer in names else len(names) - 1
    return names[round(depth * last)] if names else None


def _answer(rows: list[Row], columns: list[Column], done: list[list[Heatmap]], scale: str, refused: dict[str, None], samples: Samples) -> Answer:
    maps = [map_ for found in done for map_ in found]
    names = tuple(f"{map_.caption} · {row.name}" for row, found in zip(rows, done) for map_ in found)
    told = [f"{len(done)} of {len(rows)} rows are there."] if len(done) < len(rows) else []
    whole = Gallery(tuple(maps), names, columns=len(columns), scale="column" if scale == "one per column" else "own")
    if len(columns) < 2:
        return Answer(whole, None, None, Note(" ".join([*told, *refused]) or "One column: nothing to compare with yet."))
    titles = [map_.caption if column.layer != CHOSEN else TECHNIQUES[column.technique].title for column, map_ in zip(columns, done[0])]
    alike = mean_rank_correlations([[map_.values for map_ in found] for found in done])
    least = np.unravel_index(np.argmin(alike), alike.shape)
    told.append(f"Least alike are {titles[least[0]]} and {titles[least[1]]} (rank correlation {alike[least]:.2f}).")
    return Answer(
        whole,
        Table(("technique", *titles), tuple((title, *map(float, line)) for title, line in zip(titles, alike)), caption=ALIKE),
        Gallery(tuple(_disagreement(row, found) for row, found in zip(rows, done)), tuple(row.name for row in rows[: len(done)])),
        Note(" ".join([*told, *refused])),
    )


def _disagreement(row: Row, maps: list[Heatmap]) -> Heatmap:
    values = disagreement([map_.values for map_ in maps])
    return Heatmap(values, unit="of a rank", caption="Where the techniques differ most", below=row.sample.pixels[0])
