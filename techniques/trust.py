"""How far one heat map can be believed: whether it changes when the network forgets what it has learned, whether what it
marks decides, and whether it stays when nothing that matters has changed.

Five readings, each after its paper in `techniques.base.trust`: cascading randomization of the weights (Adebayo et al. 2018,
arXiv:1810.03292, the main one, which gives the title), deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421),
sensitivity and infidelity (Yeh et al. 2019, arXiv:1901.09392), input shift (Kindermans et al. 2017, arXiv:1711.00867). The
thresholds of the sentence are in `techniques.base.verdict`.

Scrambling works on a copy of the network, so it takes the memory of its weights once more. Each reading but the curves and
infidelity runs the technique several times: what is slow once is slow here a dozen times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np

from techniques.base import (
    TECHNIQUES, Curve, Gallery, Heatmap, Help, LayerName, LoadedModel, Note, Range, Run, Sample, Seed, Several, Table, TargetClass, Technique,
    technique,
)  # fmt: skip
from techniques.base.covering import Fill
from techniques.base.maps import HeatMap, Question, fitting, nothing_fits
from techniques.base.trust import READINGS, Curves, Readings, Sizes, area, readings
from techniques.base.verdict import verdict

NAMES = tuple(READINGS)


class Answer(NamedTuple):
    note: Note
    scrambled_weights: Curve | None
    deletion_and_insertion: Curve | None
    maps: Gallery
    numbers: Table


@technique(
    title="Trust",
    family="Compare",
    paper="arXiv:1810.03292",
    order=20,
    limits="A map that passes is not yet right: a map of noise would change with the weights, too. The readings are of this picture, this "
    "class and this network; measure a few pictures before you believe a method, or read the table. A filled picture is unlike any the "
    "network has learned from, and another fill gives other curves.",
    why_not=nothing_fits,
)
def trust(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    method: HeatMap = "grad_cam",
    target: TargetClass = None,
    layer: LayerName = None,
    seed: Seed = 0,
    measure: Annotated[tuple[str, ...], Several(lambda: READINGS), Help("What is measured; most of it runs the method again.")] = NAMES,
    stages: Annotated[int, Range(2, 20, 1, "stages"), Help("In how many stages the weights are scrambled, from the head down.")] = 5,
    copies: Annotated[int, Range(1, 50, 1, "noisy copies"), Help("How many copies of the picture with small noise are tried.")] = 4,
    points: Annotated[int, Range(4, 100, 1, "points"), Help("In how many steps pixels go and come; more are finer and slower.")] = 10,
    fill: Fill = "blur",
) -> Answer:
    """The sentence; probabilities `[points + 1]` over the share of pixels; likeness `[stages + 1]` over the layers scrambled;
    maps `[H, W]` each as a share of its own largest value; all readings as numbers. Raises what the method raises."""
    sizes = Sizes(points=points, stages=stages, copies=copies, fill=fill, seed=seed)
    return _measured({}, sample, model, run, method, target, layer, measure, sizes)


def trust_in(own: Mapping[str, Any]) -> Technique:
    """This technique with the method's `own` settings: what is measured is then the very map that is on the page."""

    def with_own(sample: Sample, model: LoadedModel, run: Run, *, method, target, layer, measure, **sizes) -> Answer:
        return _measured(own, sample, model, run, method, target, layer, measure, Sizes(**sizes))

    return replace(TECHNIQUES["trust"], function=with_own)


def _measured(own, sample: Sample, model: LoadedModel, run: Run, method: str, target, layer, measure, sizes: Sizes) -> Answer:
    chosen, instead = fitting(method, model)
    target = model.target(target, sample.pixels)
    question = Question.about(chosen, own=own if chosen == method else {}, target=target, layer=layer, seed=sizes.seed)
    title = question.technique.title
    for known in readings(question, sample, model, target, measure, sizes, run):
        answer = _answer(title, instead, known, sample, model.label(target), sizes)
        run.show(lambda answer=answer: answer)
    return answer


def _answer(title: str, instead: str, known: Readings, sample: Sample, label: str, sizes: Sizes) -> Answer:
    return Answer(
        Note(instead + verdict(title, known), caption=f"{title} for “{label}”"),
        known.scrambling and _likeness(title, known),
        known.curves and _curves(known.curves, label, sizes.fill),
        _gallery(title, known, sample, sizes),
        Table(("reading", "value", "compared with", "what is good"), tuple(_rows(known)), caption="Every reading as a number"),
    )


def _likeness(title: str, known: Readings) -> Curve:
    found = known.scrambling
    return Curve(
        np.array([0, *found.counts], np.float32),
        {title: np.array([1, *found.likeness], np.float32)},
        x_label="layers scrambled, from the head down",
        y_label="likeness to the map",
        caption="Rank correlation with the map of the trained network while more and more weights are scrambled: it should fall at once",
    )


def _curves(found: Curves, label: str, fill: str) -> Curve:
    names = {
        "deletion": "pixels go", "insertion": "pixels come", "deletion_elsewhere": "go, elsewhere",
        "insertion_elsewhere": "come, elsewhere", "deletion_random": "go, random", "insertion_random": "come, random",
    }  # fmt: skip
    return Curve(
        np.linspace(0, 1, len(found.deletion), dtype=np.float32),
        {names[name]: line.astype(np.float32) for name, line in found._asdict().items()},
        x_label="share of the pixels, highest first",
        y_label="probability",
        caption=f"Probability of “{label}” while the pixels that the map marks go and come; {fill} stands for what is not there. Beside it, "
        "the same map put elsewhere, and the pixels in random order",
    )


def _gallery(title: str, known: Readings, sample: Sample, sizes: Sizes) -> Gallery:
    """All maps, each divided by its own largest absolute value: the place counts here, not the size."""
    shown = [(title, known.map, None)]
    if known.noise:
        shown.append(("With small noise", known.noise.map, known.noise.picture))
        if known.noise.other_seed is not None:
            shown.append(("With another seed", known.noise.other_seed, None))
    if known.shift:
        shown.append((f"Input shifted by {sizes.shift:+g}", known.shift.map, None))
    if known.scrambling:
        shown += [(f"Scrambled down to {name}", map_, None) for name, map_ in zip(known.scrambling.layers, known.scrambling.maps)]
    below = sample.pixels[0].detach().cpu().numpy()
    items = tuple(
        Heatmap(_as_share(map_.values), signed=map_.signed, unit="of its maximum", caption=name, below=below if other is None else other)
        for name, map_, other in shown
    )
    return Gallery(items, tuple(name for name, _, _ in shown), caption="Each map as a share of its own largest value")


def _as_share(values: np.ndarray) -> np.ndarray:
    largest = float(np.abs(values).max())
    return (values / largest if largest else values).astype(np.float32)


def _rows(known: Readings) -> list[tuple[str, float | str, str, str]]:
    """One row per number that has been measured."""
    rows: list[tuple[str, float | str, str, str]] = []
    if known.scrambling:
        rows += [
            (f"likeness, scrambled down to {name} ({count} of {known.scrambling.of} layers)", value, "1, the map itself", "near 0")
            for name, count, value in zip(known.scrambling.layers, known.scrambling.counts, known.scrambling.likeness)
        ]
    if known.curves:
        areas = {name: area(line) for name, line in known.curves._asdict().items()}
        for name, good in (("deletion", "less than elsewhere"), ("insertion", "more than elsewhere")):
            others = f"{areas[f'{name}_elsewhere']:.3f} elsewhere, {areas[f'{name}_random']:.3f} in random order"
            rows.append((f"area under {name}", areas[name], others, good))
    if known.noise:
        rows.append(("largest relative change by noise", max(known.noise.changes), f"{len(known.noise.changes)} copies", "near 0"))
        if known.noise.reseeded is not None:
            rows.append(("relative change with another seed", known.noise.reseeded, "1 seed", "near 0"))
    if known.shift:
        rows.append(("likeness, input shifted", known.shift.likeness, f"logits changed by up to {known.shift.logit_change:.1g}", "1"))
    if known.infidelity is not None:
        rows.append(("infidelity, as a share", known.infidelity, "1, no map at all", "near 0"))
    return rows or [("nothing yet", 0.0, "", "")]
