"""What outlives what happens to pictures: compression, blur, resizing, cropping, noise, fewer colours. An attack that is gone after a
JPEG of quality 75 is one thing, one that stays until the original itself is lost another.

Kurakin, Goodfellow and Bengio 2017, arXiv:1607.02533, put adversarial pictures through such transformations and count what is
destroyed. Departure: one original with up to seven pictures made from it is looked at closely: probabilities over the strength of each
transformation, beside the original's, which loses its class at some strength, too. The first picture is the original (“Send as pair”
puts it there); its class, and the class that each other picture is taken for before anything happens to it, are followed. Whether the
pictures fool other models is their transferability (Papernot, McDaniel and Goodfellow 2016, arXiv:1605.07277).
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, NamedTuple

from techniques.base import (
    Curve, Gallery, Help, LoadedModel, Note, ParameterError, Picture, Range, Run, Samples, Seed, Table, technique, torch,
)  # fmt: skip
from techniques.base.attacks import answered, draw
from techniques.base.attacks.survival import TREATMENTS, Tried, Watched, try_out
from techniques.base.class_maps import class_name
from techniques.base.drawing.svg import percent
from techniques.base.models_at_hand import THIS, Models, chosen_models

MOST = 8  # pictures


class Answer(NamedTuple):
    note: Note
    compression: Curve
    blur: Curve | None
    resizing: Curve | None
    cropping: Curve | None
    noise: Curve | None
    bit_depth: Curve | None
    outlived: Table
    pictures: Gallery
    transfer: Table | None


@technique(
    title="Survival",
    family="Robustness",
    paper="arXiv:1607.02533",
    order=86,
    limits="An attack that was not made to outlive a treatment does not, most of the time; one that was made for it may. A defence by "
    "such a treatment is known to fail against whoever knows of it.",
)
def survival(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    points: Annotated[int, Range(2, 30, 1, "strengths"), Help("How many strengths of each treatment are tried.")] = 7,
    models: Models = (THIS,),
    seed: Seed = 0,
) -> Answer:
    """Probabilities over the strength of each treatment; up to which strength each picture keeps its answer; what each model says to the
    pictures. Raises ParameterError for more than eight pictures, or a model that has to be downloaded."""
    if len(samples) > MOST:
        raise ParameterError(f"Survival looks at one original and up to {MOST - 1} pictures made from it; received {len(samples)}. Take some away.")
    used, pictures = chosen_models(models, model), list(samples)
    run.check()
    with torch.no_grad():
        watched = Watched(pictures, model, torch.cat([model.logits(sample.pixels) for sample in pictures]))
    drawn, tried = draw(torch.randn, pictures[0].pixels, torch.Generator().manual_seed(seed)), {}
    for number, (name, treatment) in enumerate(TREATMENTS.items()):
        tried[name] = try_out(treatment, watched, points, drawn, run.part(number, len(TREATMENTS), treatment.title))
        run.show(partial(_answer, watched, tried, []))
    return _answer(watched, tried, [row for other in used for row in _transfer(watched, other, run)])


def _transfer(watched: Watched, model: LoadedModel, run: Run) -> list[tuple]:
    """A row for every picture but the original: what this model says to both."""
    with run.holding_beside(watched.model.lock, model.lock), torch.no_grad():
        run.check()
        pixels = torch.cat([sample.fit(model).pixels.to(model.device) for sample in watched.pictures])
        logits = model.logits(pixels)
    says, shares = answered(model, model.predicted(logits[:1]).expand(len(logits)), logits).tolist(), model.shares(logits)
    said = [(model.label(index), float(shares[place, index])) for place, index in enumerate(says)]
    others = list(enumerate(watched.pictures))[1:]
    return [(model.title, sample.origin, *said[0], *said[place], int(says[place] != says[0])) for place, sample in others]


def _answer(watched: Watched, tried: dict[str, Tried], transfer: list[tuple]) -> Answer:
    curves = {name: _curve(watched, tried[name]) if name in tried else None for name in TREATMENTS}
    columns = ("model", "picture", "says to the original", "probability", "says to the picture", "its probability", "fooled")
    return Answer(
        _note(watched, tried),
        **curves,
        outlived=_outlived(watched, tried),
        pictures=_gallery(watched, tried),
        transfer=Table(columns, tuple(transfer), caption="What each model says; 1 where it is fooled, too") if transfer else None,
    )


def _curve(watched: Watched, tried: Tried) -> Curve:
    """The original's class in every picture, and in each the class that it is taken for."""
    shares, classes, lines = watched.model.shares(tried.logits), watched.classes.tolist(), {}
    for place, role in enumerate(watched.roles):
        for index in dict.fromkeys((classes[0], classes[place])):
            lines[f"{class_name(watched.model, index)}, {role}"] = shares[:, place, index]
    ticks = ("none", *(f"{strength:g}" for strength in tried.strengths))
    caption = f"{tried.treatment.title}, stronger to the right"
    return Curve(torch.arange(float(len(ticks))), lines, x_label=tried.treatment.axis, y_label="probability", ticks=ticks, caption=caption)


def _outlived(watched: Watched, tried: dict[str, Tried]) -> Table:
    def told(each: Tried, count: int) -> str:
        if count == len(each.strengths):
            return f"all, to {each.treatment.said.format(each.strengths[-1])}"
        return each.treatment.said.format(each.strengths[count - 1]) if count else f"not even {each.treatment.said.format(each.strengths[0])}"

    rows = tuple((each.treatment.title, *(told(each, count) for count in each.kept(watched))) for each in tried.values())
    names = [f"{role} stays “{class_name(watched.model, index)}” up to" for role, index in zip(watched.roles, watched.classes.tolist())]
    return Table(("treatment", *names), rows, caption="Up to which of the strengths tried each picture keeps its answer")


def _gallery(watched: Watched, tried: dict[str, Tried]) -> Gallery:
    items, names = [], []
    for each in tried.values():
        middle = len(each.strengths) // 2
        logits = each.logits[1 + middle]
        index = int(watched.answers(logits)[-1])
        strength = f"{each.treatment.title}, {each.treatment.said.format(each.strengths[middle])}"
        names.append(f"{strength}: {watched.model.label(index)} {percent(float(watched.model.shares(logits)[-1, index]))}")
        items.append(Picture(each.picture, label=f"{strength}, of {watched.pictures[-1].origin}"))
    return Gallery(tuple(items), tuple(names), caption=f"The {watched.roles[-1]}, treated half-way")


def _note(watched: Watched, tried: dict[str, Tried]) -> Note:
    """Which treatments end an attack while the original keeps its class, and from which strength on."""
    told, classes = [], watched.classes.tolist()
    names = [class_name(watched.model, index) for index in classes]
    for place, role in enumerate(watched.roles[1:], 1):
        change = watched.pictures[place].pixels - watched.pictures[0].pixels
        told.append(f"The {role} picture is {255 * float(change.square().mean().sqrt()):.2g}/255 from the original in root mean square,")
        if classes[place] == classes[0]:
            told.append(f"and taken for “{names[0]}”, too: there is nothing to outlive.")
            continue
        ended = []
        for each in tried.values():
            kept = each.kept(watched)
            if kept[place] < kept[0]:
                ended.append(f"{each.treatment.title} from {each.treatment.said.format(each.strengths[kept[place]])} on")
        told.append(f"and taken for “{names[place]}”.")
        ends = f"This ends while the original stays “{names[0]}”: {', '.join(ended)}."
        told.append(ends if ended else f"Nothing that was tried ends this before the original is no longer “{names[0]}”.")
    return Note(" ".join(told) or f"The picture is taken for “{names[0]}”.")
