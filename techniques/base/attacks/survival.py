"""Whether an attack outlives what happens to pictures: saving, shrinking, cropping, blurring, at one strength and at growing strength.
Everything but the upload works on pixels `[1, C, H, W]` in `[0, 1]`, and keeps their size."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from model_zoo.deferred import torch
from techniques.base.attacks.goal import answered
from techniques.base.covering import blurred
from techniques.base.sample import Sample, to_image

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run


def rounded(pixels: torch.Tensor, bits: int) -> torch.Tensor:
    """Each value rounded to the nearest of those that so many bits can tell apart, from 0 to 1; a PNG file has 8."""
    steps = 2**bits - 1
    return ((pixels.double() * steps).round() / steps).to(pixels)


def jpeg(pixels: torch.Tensor, quality: int) -> torch.Tensor:
    """Saved as JPEG and read again, with Pillow's chroma subsampling for that quality; a fourth channel, opacity, is not saved."""
    image, buffer = to_image(pixels[0, :3]), io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    read = np.asarray(Image.open(buffer), np.float32) / 255
    saved = torch.from_numpy(read).to(pixels).view(*image.size[::-1], -1).permute(2, 0, 1)[None]
    return torch.cat([saved, pixels[:, 3:]], 1)


def resized(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """Shrunk to a share of its side and enlarged again, bilinear, antialiased."""
    size = tuple(pixels.shape[2:])
    return _scaled(_scaled(pixels, [max(1, round(share * side)) for side in size]), size)


def cropped(pixels: torch.Tensor, share: float) -> torch.Tensor:
    """A share of its side cut off at each border, the rest enlarged again."""
    height, width = pixels.shape[2:]
    top, left = (min(round(share * side), (side - 1) // 2) for side in (height, width))
    return _scaled(pixels[..., top : height - top, left : width - left], (height, width))


def uploaded(pixels: torch.Tensor, sample: Sample, model: LoadedModel) -> torch.Tensor:
    """What the model sees of the PNG file when it is uploaded as a new picture: it goes through the whole preprocessing again."""
    return Sample.from_image(to_image(pixels[0]), model, framing=sample.framing).pixels.to(pixels)


VERSIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as it is": lambda pixels: pixels,
    "8 bits, as in a PNG file": partial(rounded, bits=8),
    "JPEG, quality 90": partial(jpeg, quality=90),
    "JPEG, quality 75": partial(jpeg, quality=75),
    "shrunk to 3/4 and enlarged": partial(resized, share=0.75),
    "cropped by 5 % on each side": partial(cropped, share=0.05),
    "blurred by 1 pixel": partial(blurred, deviation=1.0),
}
UPLOADED = "PNG file, uploaded again"


class Treatment(NamedTuple):
    """What may happen to a picture, from `weakest` to `strongest`: `apply(pixels, strength, drawn)`, with Gaussian numbers in the pixels'
    shape. `axis` names the strength, `said` tells one of them."""

    title: str
    weakest: float
    strongest: float
    axis: str
    said: str
    apply: Callable[[torch.Tensor, float, torch.Tensor], torch.Tensor]
    step: float = 1

    def strengths(self, count: int) -> list[float]:
        """So many strengths, evenly, to the nearest step; fewer where steps leave no more."""
        return list(dict.fromkeys(float(round(each / self.step) * self.step) for each in np.linspace(self.weakest, self.strongest, count)))


TREATMENTS: dict[str, Treatment] = {
    "compression": Treatment("JPEG", 100, 10, "quality", "quality {:g}", lambda pixels, quality, _: jpeg(pixels, int(quality))),
    "blur": Treatment("Blur", 0.5, 4, "standard deviation in px", "{:g} px", lambda pixels, deviation, _: blurred(pixels, deviation), 0.1),
    "resizing": Treatment("Resizing", 90, 20, "side in %", "{:g} %", lambda pixels, percent, _: resized(pixels, percent / 100)),
    "cropping": Treatment("Cropping", 2, 30, "cut off at each side in %", "{:g} %", lambda pixels, percent, _: cropped(pixels, percent / 100)),
    "noise": Treatment("Noise", 4, 48, "standard deviation in 1/255", "{:g}/255", lambda pixels, size, drawn: pixels + size / 255 * drawn),
    "bit_depth": Treatment("Bit depth", 8, 1, "bits", "{:g} bit", lambda pixels, bits, _: rounded(pixels, int(bits))),
}


@dataclass(frozen=True, eq=False)
class Watched:
    """An original and pictures made from it, with their logits `[pictures, K]`: what each is called, and what it is taken for."""

    pictures: list[Sample]
    model: LoadedModel
    logits: torch.Tensor

    @property
    def roles(self) -> list[str]:
        return ["original", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"][: len(self.pictures)]

    @property
    def classes(self) -> torch.Tensor:
        """What each picture is taken for as it is, int `[pictures]`, the original first."""
        return self.answers(self.logits)

    def answers(self, logits: torch.Tensor) -> torch.Tensor:
        """What the model says to the pictures in another version, from logits `[pictures, K]`."""
        original = self.model.predicted(self.logits[:1])
        return answered(self.model, original.expand(len(logits)), logits)


class Tried(NamedTuple):
    """One treatment: its strengths; what the model says without it and at each strength, logits `[1 + strengths, pictures, K]`; and the last
    picture half-way `[C, H, W]`."""

    treatment: Treatment
    strengths: list[float]
    logits: torch.Tensor
    picture: torch.Tensor

    def kept(self, watched: Watched) -> list[int]:
        """For each picture at how many strengths in a row, the weakest first, it keeps its answer."""
        answers = torch.stack([watched.answers(logits) for logits in self.logits[1:]])
        return (answers == watched.classes).int().cumprod(0).sum(0).tolist()


def try_out(treatment: Treatment, watched: Watched, count: int, drawn: torch.Tensor, run: Run) -> Tried:
    """Every picture at so many strengths of a treatment; `drawn` as in `Treatment`."""
    strengths, logits, half_way = treatment.strengths(count), [watched.logits], None
    for number, strength in enumerate(run.steps(strengths, "strength")):
        treated = [treatment.apply(sample.pixels, strength, drawn).clamp(0, 1) for sample in watched.pictures]
        with torch.no_grad():
            logits.append(watched.model.logits(torch.cat(treated)))
        if number == len(strengths) // 2:
            half_way = treated[-1][0]
    return Tried(treatment, strengths, torch.stack(logits), half_way)


def versions(pixels: torch.Tensor, sample: Sample, model: LoadedModel) -> dict[str, torch.Tensor]:
    """Every version of a picture by name; the last is what an upload of its PNG file would be."""
    made = {name: make(pixels).clamp(0, 1) for name, make in VERSIONS.items()}
    return {**made, UPLOADED: uploaded(pixels, replace(sample, exact=False), model)}


def _scaled(pixels: torch.Tensor, size) -> torch.Tensor:
    return torch.nn.functional.interpolate(pixels, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
