"""What a class, a channel or a whole layer looks for: a picture made from the network alone, changed step by step until it
answers as strongly as it can.

Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, section 2, for classes; Olah, Mordvintsev and Schubert 2017,
doi:10.23915/distill.00007, for everything else and for how it is done. The parts, each with its source, are in
`techniques.base.visualisation`: what is climbed (`aims`), what a picture is made of (`images`), from where it is seen
(`views`), and the steps (`climb`). Nothing after the layer is computed, and of a convolution only the filters that are asked for.
A picture may be of another size than the model's, where the network allows it up to the layer. Deep dream (Mordvintsev et
al. 2015) is a whole layer, begun from the picture; here without its octaves: waves of all lengths are climbed at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import (
    TECHNIQUES, Animation, Curve, Gallery, Help, LayerName, LoadedModel, Note, ParameterError, Predictions, Range, Run, Sample, Seed,
    TargetClass, technique, torch, visualisation,
)  # fmt: skip
from techniques.base.visualisation import Aim, Climb, Climbed
from techniques.base.visualisation.frames import Frames, animation
from techniques.base.visualisation.report import Report
from techniques.base.visualisation.variants import AS_SET, Variants, climbs

MOST = 64  # pictures in one run
DEFAULT = Climb()
SIZES = Range(0, 512, 8, "px")


class Answer(NamedTuple):
    pictures: Gallery
    note: Note
    predictions: Predictions | None
    animation: Animation | None
    objective: Curve | None


class Wanted(NamedTuple):
    """What is maximised: one name for each picture, and for classes their numbers."""

    aim: Aim
    names: tuple[str, ...]
    classes: tuple[int, ...] = ()


@technique(
    title="Feature visualisation",
    family="What is inside",
    paper="doi:10.23915/distill.00007",
    order=30,
    limits="It shows what excites the network most, which may be unlike anything in the world, and one of many such pictures. A channel may "
    "answer to several kinds of things and show one; and what it looks for says nothing about what it answered to your picture.",
    pairs=False,
)
def feature_visualisation(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    maximise: Annotated[
        Literal["class", "channels", "neurons", "whole layer", "direction of the picture", "random directions"],
        Help("The class of the top of the page; channels of its layer, everywhere or in the middle; all of them; or sums of them."),
    ] = "class",
    first: Annotated[int, Range(0, 65535), Help("The number of the first channel.")] = 0,
    count: Annotated[int, Range(1, MOST, 1, "pictures"), Help("How many, side by side.")] = 1,
    pick: Annotated[Literal["in order", "at random"], Help("Channels by number, classes by how probable they are; or any.")] = "in order",
    start: Annotated[Literal["noise", "picture"], Help("Begin with faint noise, or with your picture, whatever its class.")] = "noise",
    size: Annotated[int, SIZES, Help("Side of the pictures; 0 for the model's own. Many networks allow another, and less is faster.")] = 0,
    steps: Annotated[int, Range(1, 1024, 1, "steps"), Help("How many steps; more are clearer.")] = DEFAULT.steps,
    learning_rate: Annotated[float, Range(0.001, 1, 0.001), Help("How large the steps are.")] = DEFAULT.learning_rate,
    l2: Annotated[float, Range(0, 10, 0.05), Help("Pulls each pixel to grey, against contrast.")] = DEFAULT.l2,
    total_variation: Annotated[float, Range(0, 2, 0.01), Help("Pulls each pixel to its neighbours, against grain.")] = DEFAULT.total_variation,
    blur_every: Annotated[int, Range(0, 100, 1, "steps"), Help("A slight blur every so many steps; 0 for never.")] = DEFAULT.blur_every,
    jitter: Annotated[float, Range(0, 25, 0.5, "% of the size"), Help("How far the picture is moved at random at each step.")] = DEFAULT.jitter,
    rotation: Annotated[float, Range(0, 45, 1, "degrees"), Help("How far it is turned at random.")] = DEFAULT.rotation,
    scale: Annotated[float, Range(0, 50, 1, "%"), Help("How much it is made larger or smaller at random.")] = DEFAULT.scale,
    fourier: Annotated[bool, Help("Climb on waves of all lengths instead of on pixels.")] = DEFAULT.fourier,
    decorrelated: Annotated[bool, Help("Climb on colours as they occur in photographs.")] = DEFAULT.decorrelated,
    beside: Variants = (AS_SET,),
    target: TargetClass = None,
    layer: LayerName = None,
    seed: Seed = 0,
) -> Answer:
    """Pictures `[C, H, W]`, the model's logits for them where classes are meant, and what was climbed over the steps, in logits or
    in the unit of the layer. Raises ParameterError for channels that the layer does not have, for more than 64 pictures, and for a
    size that the network does not take."""
    climb = Climb(steps, learning_rate, l2, total_variation, blur_every, jitter, rotation, scale, fourier, decorrelated)
    ways = climbs(beside, climb, TECHNIQUES["feature_visualisation"].params)
    run.check()
    wanted = _wanted(sample, model, maximise, first, count, pick == "at random", target, layer, seed)
    if len(wanted.aim) * len(ways) > MOST:
        raise ParameterError(f"{len(wanted.aim)} pictures in {len(ways)} ways are more than {MOST}. Choose fewer.")
    where = wanted.aim.layer.name if wanted.aim.layer else ""
    report = Report(model, wanted.names, where, wanted.classes, "noise" if start == "noise" else sample.origin, tuple(ways))
    begin = _sized(sample.pixels, size) if start == "picture" else None
    recorded = [Frames(steps, len(wanted.aim) * len(ways)) for _ in ways]
    done: dict[str, Climbed] = {}
    for number, (way, changed) in enumerate(ways.items()):

        def see(step: int, pictures: torch.Tensor, values: torch.Tensor) -> None:
            recorded[number].see(step, pictures)
            run.show(lambda: _unfinished(report, done, way, pictures, step, values))

        part = run.part(number, len(ways), way) if len(ways) > 1 else run
        done[way] = visualisation.maximise(model, wanted.aim, changed, part, seed=seed, start=begin, size=(size, size) if size else None, see=see)
    run.check()
    predictions = report.predictions(done)
    gallery = report.gallery({way: climbed.pictures for way, climbed in done.items()})
    on_the_way = animation(recorded, report.columns, f"From {report.begun} to the end")
    return Answer(gallery, report.note(done, predictions), predictions, on_the_way, report.curve(done))


def _unfinished(report: Report, done: dict[str, Climbed], way: str, pictures: torch.Tensor, step: int, values: torch.Tensor) -> Answer:
    """The pictures so far, and how far that is."""
    shown = {name: climbed.pictures for name, climbed in done.items()} | {way: pictures}
    unit = " logits" if report.classes else ""
    note = f"At step {step}: {float(values.mean()):.3g}{unit}{' on average' if len(values) > 1 else ''}."
    return Answer(report.gallery(shown), Note(f"{way}. {note}" if len(report.ways) > 1 else note), None, None, None)


def _wanted(
    sample: Sample, model: LoadedModel, maximise: str, first: int, count: int, random: bool, target: int | None, layer: str | None, seed: int
) -> Wanted:
    generator = torch.Generator().manual_seed(seed)
    if maximise == "class":
        shares = model.probabilities(sample.pixels)[0, : model.named].cpu()
        order = torch.randperm(len(shares), generator=generator) if random else shares.argsort(descending=True, stable=True)
        chosen = order[0] if target is None and random else model.predicted(shares) if target is None else target
        classes = tuple(dict.fromkeys([int(chosen), *order.tolist()]))[:count]
        return Wanted(Aim.at_classes(model, classes), tuple(model.label(index) for index in classes), classes)
    place = model.layer(layer or model.default_layer or model.layers[-1].name)
    if maximise == "whole layer":
        return Wanted(Aim(place, None), (f"all of {place.name}",))
    if maximise == "direction of the picture":
        return Wanted(Aim.at_answer(model, place, sample.pixels), (f"as {sample.origin}",))
    if maximise == "random directions":
        directions = torch.nn.functional.normalize(torch.randn(count, place.channels, generator=generator))
        return Wanted(Aim(place, directions), tuple(f"direction {number}" for number in range(1, count + 1)))
    if first >= place.channels and not random:
        raise ParameterError(f"First: received {first}, but the channels of {place.name} are numbered from 0 to {place.channels - 1}.")
    numbers = torch.randperm(place.channels, generator=generator) if random else torch.arange(first, place.channels)
    channels = numbers[:count].tolist()
    word = "unit" if place.kind == "vector" else "channel" if maximise == "channels" else "neuron"
    return Wanted(Aim.at_channels(place, channels, centre=maximise == "neurons"), tuple(f"{word} {number}" for number in channels))


def _sized(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """The picture that a climb begins with, at the size that is wanted."""
    if not size:
        return pixels
    return torch.nn.functional.interpolate(pixels, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
