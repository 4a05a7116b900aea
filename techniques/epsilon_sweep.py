"""How strong an attack has to be: the same attack at growing epsilon, on your pictures and on several models, beside white noise of
the same strength. A model whose curve falls later withstands this attack better.

Accuracy over epsilon is the first robustness curve of Dong et al. 2020, arXiv:1912.11852 (accuracy against perturbation budget). The
right class of a picture is the group it belongs to, where the model has a class of this name, else the one it predicts before the
attack. The smallest epsilon of each picture is found by bisection between the two points of the curve where its answer turns; an
attack is not bound to succeed at every larger epsilon (a single step may overshoot), so it is one at which the answer turns, not a
proof that none below is. Each model is attacked through its own gradient; pictures are resized for it.

How far the layers are moved is the distance of what they put out from what they put out before, as a share of its length. An attack
grows on its way through the layers, noise does not: the error amplification of Liao et al. 2018, arXiv:1712.02976, shown there for
one epsilon.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Annotated, NamedTuple

import numpy as np

from techniques.base import (
    TECHNIQUES, Browser, Curve, Gallery, Heatmap, Help, Histogram, IncompatibleModel, LayerName, LoadedModel, Note, OneOf, Picture, Range, Run,
    Sample, Samples, Seed, Table, technique, torch,
)  # fmt: skip
from techniques.base.attacks import Norm, bounded, limit_in_words, settings_of
from techniques.base.attacks.sweep import Reading, Smallest, Sweep, layer_changes, means, spread
from techniques.base.batches import batch_size
from techniques.base.class_maps import doubt, has_no_places, layer_with_places, map_of_class, no_places
from techniques.base.drawing.svg import percent
from techniques.base.models_at_hand import THIS, Models, chosen_models

BATCH = 16  # pictures that are attacked at one time
BINS = 16


class Answer(NamedTuple):
    accuracy: Curve
    confidence: Curve
    pictures: Gallery
    layers: Browser
    smallest_epsilon: Table | None
    histogram: Histogram | None
    note: Note


class Frame(NamedTuple):
    """The first picture at one epsilon: the epsilon with what is said of it, the picture, and its Grad-CAM where the model has places."""

    name: str
    picture: Picture
    map: Heatmap | None


@technique(
    title="Epsilon sweep",
    family="Robustness",
    paper="arXiv:1912.11852",
    order=82,
    limits="The curve is of this attack: a stronger one may bring it down earlier, so it shows at best how robust a model is. With few "
    "pictures its steps are large. Models see pictures of different size and training; the curves compare them as they come.",
)
def epsilon_sweep(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    method: Annotated[str, OneOf(bounded), Help("The attack; those that epsilon limits.")] = "fgsm",
    largest: Annotated[float, Range(0.5, 64, 0.5, "of 255"), Help("The largest epsilon, in 1/255 of the range from black to white.")] = 8.0,
    points: Annotated[int, Range(2, 33, 1, "points"), Help("At how many epsilons, from none to the largest.")] = 5,
    precision: Annotated[float, Range(0.05, 8, 0.05, "of 255"), Help("How exactly the smallest epsilon of each picture is found.")] = 0.5,
    norm: Norm = "linf",
    models: Models = (THIS,),
    followed: Annotated[int, Range(2, 12, 1, "layers"), Help("How many layers are followed, from the first to the last.")] = 5,
    layer: LayerName = None,
    seed: Seed = 0,
) -> Answer:
    """Shares of pictures and mean probabilities over epsilon; the first picture at each epsilon with its Grad-CAM; relative changes of
    layers; the smallest epsilon of each picture, in 1/255."""
    chosen, used = TECHNIQUES[method], chosen_models(models, model)
    refused = {other.title: reason for other in used if (reason := chosen.why_not(other))}
    fit = [other for other in used if other.title not in refused]
    if not fit:
        raise IncompatibleModel(" ".join(f"{chosen.title} does not work on {title}: {reason}" for title, reason in refused.items()))
    epsilons, settings = torch.linspace(0, largest, points).tolist(), settings_of(chosen, norm=norm)
    sweeps = [Sweep(chosen, other, settings, epsilons, seed, spread(other, followed) if other is fit[0] else ()) for other in fit]
    strip: list[Frame] = []
    told = [f"{title}: {reason}" for title, reason in refused.items()]
    for number, sweep in enumerate(sweeps):
        part, parts = run.part(number, len(sweeps), sweep.model.title), samples.batches(min(BATCH, batch_size(sweep.model)))
        with run.holding_beside(model.lock, sweep.model.lock):
            for place, batch in enumerate(parts):
                for _ in sweep.read(batch, part.part(place, 2 * len(parts), "")):
                    if number == 0 and len(strip) < len(sweep.first):
                        strip.append(_frame(sweep, samples[0], layer, run))
                    run.show(partial(_answer, sweeps, strip, told))
            for place, sample in enumerate(samples):
                sweep.bisect(sample, place, precision, part.part(len(samples) + place, 2 * len(samples), f"smallest epsilon of picture {place + 1}"))
                run.show(partial(_answer, sweeps, strip, told))
    return _answer(sweeps, strip, told)


def _frame(sweep: Sweep, sample: Sample, layer: str | None, run: Run) -> Frame:
    """The first picture at the last epsilon that was tried on it."""
    run.check()
    model, number = sweep.model, len(sweep.first) - 1
    pixels, reading = sweep.first[number], sweep.attacked[number][0]
    strength = limit_in_words({**sweep.settings, "epsilon": sweep.epsilons[number]})
    name = f"{strength}: {model.label(reading.answer)}"
    picture = Picture(pixels[0], label=f"{sweep.technique.title}, {strength}, of {sample.origin}")
    if no_places(model):
        return Frame(name, picture, None)
    chosen = model.layer(layer if has_no_places(model, layer) is None else layer_with_places(model))
    values = map_of_class(model, chosen, pixels, reading.answer)
    caption = f"Grad-CAM for “{model.label(reading.answer)}” in {chosen.name}{doubt(chosen)}"
    return Frame(name, picture, Heatmap(values, unit="logit", caption=caption, below=pixels[0]))


def _answer(sweeps: list[Sweep], strip: list[Frame], told: list[str]) -> Answer:
    """Of models that have not been tried at every epsilon only the first is shown, as far as it is."""
    ready = [sweep for sweep in sweeps if sweep.attacked[-1]] or sweeps[:1]
    found = [(sweep, smallest) for sweep in ready for smallest in sweep.smallest]
    return Answer(
        _curve(ready, lambda reading: float(reading.right), "accuracy", "The share of pictures that are answered rightly"),
        _curve(ready, lambda reading: reading.share, "probability", "Mean probability of the right class"),
        _gallery(strip),
        layer_changes(sweeps[0]),
        _table(found) if found else None,
        _histogram(ready) if any(smallest.epsilon is not None for _, smallest in found) else None,
        Note(" ".join([_story(ready), *told])),
    )


def _curve(sweeps: list[Sweep], of: Callable[[Reading], float], label: str, caption: str) -> Curve:
    """A line for each model and one for noise on it; a single model's line has the name of the attack."""
    lines = {}
    for sweep in sweeps:
        names = (sweep.technique.title, "white noise") if len(sweeps) == 1 else (sweep.model.title, f"noise: {sweep.model.title}")
        lines |= zip(names, (means(readings, of) for readings in (sweep.attacked, sweep.noisy)))
    x = torch.tensor(sweeps[0].epsilons[: len(next(iter(lines.values())))])
    return Curve(x, lines, x_label="epsilon in 1/255", y_label=label, caption=f"{caption}, attacked and with white noise of the same size")


def _gallery(strip: list[Frame]) -> Gallery:
    """The pictures in a row, and below each where the class is seen that it is taken for."""
    maps = [frame.map for frame in strip if frame.map is not None]
    names = [frame.name for frame in strip] + [map_.caption for map_ in maps]
    caption = "The first picture as epsilon grows" + (", and where the class that it is taken for is seen" if maps else "")
    return Gallery((*(frame.picture for frame in strip), *maps), tuple(names), columns=len(strip), scale="own", caption=caption)


def _table(found: list[tuple[Sweep, Smallest]]) -> Table:
    rows = [
        (each.picture, sweep.model.title, each.label, f"none up to {sweep.epsilons[-1]:g}" if each.epsilon is None else each.epsilon, each.says)
        for sweep, each in found
    ]
    columns = ("picture", "model", "right class", "smallest epsilon in 1/255", "then says")
    return Table(columns, tuple(rows), caption="The smallest epsilon at which the answer turns; 0 for a picture that is never answered rightly")


def _histogram(sweeps: list[Sweep]) -> Histogram:
    edges = np.linspace(0, sweeps[0].epsilons[-1], BINS + 1)
    found = {sweep.model.title: [each.epsilon for each in sweep.smallest if each.epsilon is not None] for sweep in sweeps if sweep.smallest}
    counts = {title: np.histogram(epsilons, edges)[0] for title, epsilons in found.items()}
    return Histogram(edges, counts, x_label="smallest epsilon in 1/255", caption="Pictures by the smallest epsilon at which their answer turns")


def _story(sweeps: list[Sweep]) -> str:
    told = []
    for sweep in sweeps:
        attacked, noisy = (means(readings, lambda reading: float(reading.right)).tolist() for readings in (sweep.attacked, sweep.noisy))
        told.append(
            f"{sweep.model.title}: {percent(attacked[0])} of the pictures are answered rightly as they are, {percent(attacked[-1])} when attacked at "
            f"epsilon {sweep.epsilons[len(attacked) - 1]:.3g}/255, {percent(noisy[-1])} with white noise of that size."
        )
        turned = [each.epsilon for each in sweep.smallest if each.epsilon is not None]
        if turned:
            told.append(f"The answer turns for {len(turned)} of {len(sweep.smallest)}, in the median at {median(turned):.3g}/255.")
    return " ".join(told)
