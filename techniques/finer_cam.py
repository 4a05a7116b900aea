"""Why this class and not that one: what speaks for the class more than for the classes it could be taken for; what speaks for
all of them, such as the shape they share, falls away.

Finer-CAM: Zhang, Gu, Chowdhury, Mai, Carlyn, Berger-Wolf, Su and Chao 2025, arXiv:2501.11309: Grad-CAM of the difference y_c - gamma *
y_d in place of y_c, with the mean of y_d over several similar classes. Which classes are similar is told by their logits.
Departure: by default these are the most probable other classes, which for the predicted class are the nearest logits, as in the
paper; for a class that is not predicted the first of them is the prediction, and the map says what would speak against it.
The final ReLU is left away unless
`signed` is switched off: what speaks for the others is half of the answer.

One forward pass serves all classes, each costs a backward pass through what follows the layer.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NamedTuple

from techniques.base import (
    Browser, Heatmap, Help, LayerName, LoadedModel, Predictions, Range, Run, Sample, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.class_maps import Signed, class_name, doubt, enlarged, evidence, gradient_weighted, no_places, predictions

RIVALS = 5  # so many classes are compared with one by one


class Answer(NamedTuple):
    finer_cam: Heatmap
    one_by_one: Browser
    predictions: Predictions


@technique(
    title="Finer-CAM",
    family="Regions",
    paper="arXiv:2501.11309",
    order=45,
    limits="It is as coarse as the layer, and a part that speaks for both classes may well decide against a third. With classes that have "
    "nothing in common it says little more than Grad-CAM; look at it where the network hesitates.",
    why_not=no_places,
)
def finer_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    against: Annotated[
        Literal["the most probable", "the nearest logits"],
        Help("Which other classes it is compared with; they are the same ones as long as the predicted class is explained."),
    ] = "the most probable",
    rivals: Annotated[int, Range(1, RIVALS, 1, "classes"), Help("With the mean of how many other classes it is compared.")] = 3,
    strength: Annotated[float, Range(0, 1, 0.1), Help("How much of the other classes is taken away: 0 is Grad-CAM, 1 the plain difference.")] = 0.6,
    signed: Signed = True,
) -> Answer:
    """A map `[H, W]` of the class against the mean of its rivals, in logits per cell of the layer's grid; and against each of them.

    Raises IncompatibleModel for a layer without a grid, and for one that moves no logit.
    """
    found = evidence(sample, model, run, layer, target, partial(with_rivals, against=against))
    one, others = found.gradients[:1], found.gradients[1:]
    differences = torch.cat([one - strength * others[:rivals].mean(0, keepdim=True), one - strength * others])
    maps = gradient_weighted(found.maps, differences)
    maps = enlarged((maps if signed else maps.relu())[None], sample.pixels.shape[2:])[0]
    names = [class_name(model, index) for index in found.classes]
    together = ", ".join(f"“{name}”" for name in names[1 : 1 + rivals])
    captions = [f"What speaks {'more or less' if signed else 'more'} for “{names[0]}” than for {told} in {found.layer.name}{doubt(found.layer)}"
                for told in (together, *(f"“{name}”" for name in names[1:]))]  # fmt: skip
    heat = [Heatmap(values, signed=signed, unit="logit", caption=caption) for values, caption in zip(maps, captions)]
    return Answer(heat[0], Browser(("and not",), dict(zip(names[1:], heat[1:]))), predictions(sample, model, found.logits))


def with_rivals(model: LoadedModel, logits: torch.Tensor, target: int | None, against: str) -> list[int]:
    """The class to explain and, most similar first, those that it is compared with, from logits `[1, K]`.

    With several labels, rivals are other labels, not opposites; the opposite of a label is compared with them as well.
    """
    scores = logits[0, : model.named]
    target = int(scores.argmax()) if target is None else target
    near = -(scores - logits[0, target]).abs() if against == "the nearest logits" else scores
    order = [index for index in near.argsort(descending=True, stable=True).tolist() if index != target]
    return [target, *order[:RIVALS]]
