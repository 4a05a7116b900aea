"""What the network says when part of the picture is covered: paint over what you believe it looks at, or cover what
Grad-CAM marks, and see whether it changes its mind and where it looks instead.

Occlusion by hand, after Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2, who slide a grey square; covering what
Grad-CAM marks is the usual check of a heat map. Departure: any painted shape, and other fills than grey, because
what covers the picture is itself seen by the network.

Several areas are covered each in a picture of its own, and shown side by side on common scales: the prediction, Grad-CAM
(`techniques.base.class_maps`) and SmoothGrad (`techniques.base.gradients`) before and after.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import Annotated, NamedTuple

from techniques.base import (
    Gallery, Heatmap, Help, IncompatibleModel, Layer, LayerName, LoadedModel, Mask, Note, Picture, Predictions, Range, Run, Sample, Seed,
    TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.class_maps import has_no_places, layer_with_places, map_of_class
from techniques.base.covering import MARKED, PAINTED, FillOrNoise, Region, fill_pixels, what_changed
from techniques.base.gradients import deviation_for, smooth_gradients

NOISE = 15  # percent of the picture's range of values, the middle of what the paper of SmoothGrad recommends


class Answer(NamedTuple):
    covered: Gallery
    predictions: Predictions
    grad_cam: Gallery | None
    smooth_grad: Gallery | None
    note: Note


class Cover(NamedTuple):
    """One area to cover: its name, where it lies as bool `[1, 1, H, W]`, and how it is told, with the share it covers."""

    name: str
    place: torch.Tensor
    told: str = "With {} covered"

    @property
    def share(self) -> str:
        return f"{100 * float(self.place.float().mean()):.0f} % of the picture"


@technique(
    title="Cover",
    family="Covering",
    paper="arXiv:1311.2901",
    order=40,
    limits="A cover is a thing of its own: its edges and its colour are seen, too, and a picture with a hole is unlike any "
    "the network has learned from. Compare two fills, and another area as large, before you believe that the part underneath decided.",
)
def cover(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    mask: Mask = None,
    region: Region = "painted",
    threshold: Annotated[int, Range(5, 95, 5, "% of its maximum"), Help("Grad-CAM marks what lies above this share of the map's maximum.")] = 20,
    fill: FillOrNoise = "grey",
    samples: Annotated[int, Range(1, 50, 1, "noisy copies"), Help("SmoothGrad is the mean over so many; more is smoother and slower.")] = 12,
    seed: Seed = 0,
) -> Answer:
    """The pictures `[C, H, W]` in `[0, 1]` before and with each area covered, what the model says of each, and two maps
    `[H, W]` of each for the same class: Grad-CAM in logits, SmoothGrad in logits per unit of intensity.

    A mask spans the picture as the model sees it, at any resolution; nearest neighbours bring it to the model's. Raises
    IncompatibleModel where Grad-CAM is to mark the area and there is no such map, or nothing in it.
    """
    run.check()
    missing = has_no_places(model, layer)
    chosen = None if missing else model.layer(layer or layer_with_places(model))
    target = model.target(target, sample.pixels)
    marks = map_of_class(model, chosen, sample.pixels, target) if chosen else None
    covers = [] if region == MARKED else _painted(mask, sample.pixels, needed=region == PAINTED)
    if region != PAINTED:
        covers.append(_marked(model, target, chosen, marks, threshold, missing))
    filling = fill_pixels(fill, sample.pixels, seed)
    pictures = torch.cat([sample.pixels, *(torch.where(cover.place, filling, sample.pixels) for cover in covers)])
    with torch.no_grad():
        logits = model.logits(pictures)
    names = ("before", *(cover.name for cover in covers)) if len(covers) > 1 else ("before", "after")
    story = _story(model, target, covers, logits)
    answer = Answer(_pictures(sample, pictures, covers, names, fill), Predictions.of(model, logits, names), None, None, _note(story, missing))
    if chosen:
        run.show(lambda: answer)
        maps = [marks, *(map_of_class(model, chosen, picture[None], target) for picture in run.steps(pictures[1:], "Grad-CAM"))]
    if chosen and not any(values.any() for values in maps):
        answer = answer._replace(note=_note(story, f"nothing in {chosen.name} speaks for “{model.label(target)}”"))
    elif chosen:
        doubt = "" if chosen.local else "; this layer keeps its places in another order, so the maps are not to be read by place"
        caption = f"What speaks for “{model.label(target)}” in {chosen.name}, on one scale{doubt}"
        answer = answer._replace(grad_cam=_maps(maps, pictures, names, "logit", caption))
    run.show(lambda: answer)
    gradients = smooth_gradients(model, pictures, target, run, samples=samples, deviation=deviation_for(sample.pixels, NOISE), seed=seed)
    caption = f"How strongly each pixel moves the logit of “{model.label(target)}”, mean of {samples} noisy copies, on one scale"
    return answer._replace(smooth_grad=_maps(gradients.amax(1), pictures, names, "logit per unit of intensity", caption))


def _note(story: list[str], missing: str | None) -> Note:
    """What the covered areas do to the answer, and why there is no Grad-CAM where there is none."""
    return Note("\n".join([*story, f"Grad-CAM is left out: {missing}."] if missing else story))


def _painted(mask: tuple | None, pixels: torch.Tensor, needed: bool) -> list[Cover]:
    """The painted areas, named by their place in the alphabet; empty ones only where there is no other.

    Without any, where one is `needed`: the middle, half as high and half as wide as the picture.
    """
    height, width = pixels.shape[2:]
    if mask is None:
        middle = torch.zeros(1, 1, height, width, dtype=torch.bool, device=pixels.device)
        middle[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        return [Cover("A", middle)] if needed else []
    covers = []
    for name, plane in zip(ascii_uppercase, mask):
        plane = torch.as_tensor(plane, device=pixels.device)[None, None].float()
        covers.append(Cover(name, torch.nn.functional.interpolate(plane, (height, width), mode="nearest-exact") > 0))
    return [cover for cover in covers if cover.place.any()] or covers[:1]


def _marked(model: LoadedModel, target: int, layer: Layer | None, marks: torch.Tensor | None, threshold: int, missing: str | None) -> Cover:
    """What lies above `threshold` percent of the maximum of Grad-CAM's map `[H, W]`."""
    if missing:
        raise IncompatibleModel(f"Grad-CAM marks nothing to cover: {missing}. Paint over the picture instead, or choose another layer or model.")
    if not marks.any():
        raise IncompatibleModel(
            f"Grad-CAM marks nothing to cover: nothing in {layer.name} speaks for “{model.label(target)}”. Choose another class or layer, or paint."
        )
    place = marks > threshold / 100 * marks.max()
    return Cover("marked", place[None, None], f"With what Grad-CAM marks above {threshold} % of its maximum covered ({{}})")


def _pictures(sample: Sample, pictures: torch.Tensor, covers: list[Cover], names: tuple[str, ...], fill: str) -> Gallery:
    """The picture and its covered copies `[1 + N, C, H, W]`."""
    items = [Picture(pictures[0], label=sample.origin)]
    for cover, name, picture in zip(covers, names[1:], pictures[1:]):
        which = "" if name == "after" else f" ({name})"
        items.append(Picture(picture, label=f"Covered with {fill}{which}, of {sample.origin}"))
    told = [names[0].capitalize(), *(f"{_titled(name)}: {cover.share}" for cover, name in zip(covers, names[1:]))]
    return Gallery(tuple(items), tuple(told), caption=f"Covered with {fill}")


def _maps(maps, pictures: torch.Tensor, names: tuple[str, ...], unit: str, caption: str) -> Gallery:
    """One map per picture, each over its own picture."""
    told = (f"{_titled(name)}. {caption}" for name in names)
    items = tuple(Heatmap(values, unit=unit, caption=text, below=below) for values, text, below in zip(maps, told, pictures))
    return Gallery(items, tuple(map(_titled, names)), caption=caption)


def _titled(name: str) -> str:
    return name[:1].upper() + name[1:]


def _story(model: LoadedModel, target: int, covers: list[Cover], logits: torch.Tensor) -> list[str]:
    """What became of the class and of the answer, one sentence per area, from logits `[1 + N, K]`."""
    told = []
    for cover, after in zip(covers, logits[1:]):
        which = f"{_titled(cover.name)}: " if len(covers) > 1 else ""
        told.append(f"{which}{cover.told.format(cover.share)}, {what_changed(model, target, logits[0], after)}.")
    return told
