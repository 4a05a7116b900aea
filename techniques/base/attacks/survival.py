"""Whether an attack outlives what happens to pictures: saving, shrinking, cropping, blurring. Everything but the upload works
on pixels `[1, C, H, W]` in `[0, 1]`, and keeps their size."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from model_zoo.deferred import torch
from techniques.base.covering import blurred
from techniques.base.sample import Sample, to_image

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel


def eight_bits(pixels: torch.Tensor) -> torch.Tensor:
    """Each value rounded to a multiple of 1/255, as in a PNG file."""
    return (pixels * 255).round() / 255


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
    top, left = round(share * height), round(share * width)
    return _scaled(pixels[..., top : height - top, left : width - left], (height, width))


def uploaded(pixels: torch.Tensor, sample: Sample, model: LoadedModel) -> torch.Tensor:
    """What the model sees of the PNG file when it is uploaded as a new picture: it goes through the whole preprocessing again."""
    return Sample.from_image(to_image(pixels[0]), model, framing=sample.framing).pixels.to(pixels)


VERSIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "as it is": lambda pixels: pixels,
    "8 bits, as in a PNG file": eight_bits,
    "JPEG, quality 90": partial(jpeg, quality=90),
    "JPEG, quality 75": partial(jpeg, quality=75),
    "shrunk to 3/4 and enlarged": partial(resized, share=0.75),
    "cropped by 5 % on each side": partial(cropped, share=0.05),
    "blurred by 1 pixel": partial(blurred, deviation=1.0),
}
UPLOADED = "PNG file, uploaded again"


def versions(pixels: torch.Tensor, sample: Sample, model: LoadedModel) -> dict[str, torch.Tensor]:
    """Every version of a picture by name; the last is what an upload of its PNG file would be."""
    made = {name: make(pixels).clamp(0, 1) for name, make in VERSIONS.items()}
    return {**made, UPLOADED: uploaded(pixels, replace(sample, exact=False), model)}


def _scaled(pixels: torch.Tensor, size) -> torch.Tensor:
    return torch.nn.functional.interpolate(pixels, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
