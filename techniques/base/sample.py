"""A picture on its way through the techniques: what was given, and the pixels the model sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel


SMALL_SIDE = 32  # pixels


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture for one model.

    `pixels` is float32 `[1, C, H, W]` in `[0, 1]`, exactly what the model sees before its normalisation.
    `image` is the picture it came from, `origin` says in words where that came from, `framing` how it was made as large
    as the model wants it. With `exact` the pixels themselves are the thing (an adversarial picture, say) and are
    handed on at full precision.
    """

    pixels: torch.Tensor
    image: Image.Image
    origin: str = "picture"
    notes: tuple[str, ...] = ()
    exact: bool = False
    framing: str = "model"

    @classmethod
    def from_image(
        cls, image: Image.Image, model: LoadedModel, origin: str = "picture", notes: tuple[str, ...] = (), framing: str = "model"
    ) -> Sample:
        """The picture as large as the model wants it; a note says when it had to be enlarged much.

        `framing` is one of `model_zoo.preprocessing.FRAMINGS`; ParameterError for any other.
        """
        if min(image.size) < min(SMALL_SIDE, *model.preprocessing.size):
            notes += (f"very small picture ({image.width}×{image.height}): maps will be coarse",)
        return cls(model.preprocessing.framed(framing).pixels(image), image, origin, notes, framing=framing)

    @classmethod
    def from_pixels(cls, pixels: torch.Tensor | np.ndarray, origin: str) -> Sample:
        """A sample of given pixels `[C, H, W]` or `[1, C, H, W]` in `[0, 1]`, kept at full precision.

        Raises ParameterError for another shape, and for numbers that are not finite.
        """
        pixels = torch.as_tensor(pixels, dtype=torch.float32)
        pixels = pixels.unsqueeze(0) if pixels.ndim == 3 else pixels
        if pixels.ndim != 4 or len(pixels) != 1 or pixels.shape[1] not in (1, 3, 4):
            raise ParameterError(f"Pixels: received the shape {tuple(pixels.shape)}, expected [C, H, W] with 1, 3 or 4 channels.")
        if not pixels.isfinite().all():
            raise ParameterError(f"Pixels: {int((~pixels.isfinite()).sum())} of them are not finite, expected numbers from 0 to 1.")
        return cls(pixels, to_image(pixels[0]), origin, exact=True)

    def fit(self, model: LoadedModel) -> Sample:
        """This picture for another model; exact pixels stay as they are where size and channels allow it."""
        preprocessing = model.preprocessing.framed(self.framing)
        if not self.exact:
            return replace(self, pixels=preprocessing.pixels(self.image))
        if tuple(self.pixels.shape[1:]) == (preprocessing.channels, *preprocessing.size):
            return self
        note = f"resized from {self.pixels.shape[-1]} to {preprocessing.size[1]} px for {model.title}"
        return replace(self, pixels=preprocessing.pixels(self.image), notes=(*self.notes, note))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the given picture's size and values; for exact pixels, of the float32 values."""
        digest = hashlib.sha256()
        if self.exact:
            digest.update(str(tuple(self.pixels.shape)).encode() + self.pixels.cpu().contiguous().numpy().tobytes())
        else:
            digest.update(f"{self.image.mode} {self.image.size}".encode() + self.image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Samples:
    """An ordered set of pictures for one model."""

    items: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.items)

    def __getitem__(self, index: int) -> Sample:
        return self.items[index]

    @property
    def pixels(self) -> torch.Tensor:
        """The pixels of all pictures, `[N, C, H, W]`."""
        return torch.cat([sample.pixels for sample in self.items])

    def batches(self, size: int) -> list[Samples]:
        """The set in parts of at most `size` pictures."""
        return [Samples(self.items[start : start + size]) for start in range(0, len(self.items), size)]


def to_image(pixels: torch.Tensor) -> Image.Image:
    """Pixels `[C, H, W]` in `[0, 1]` rounded to an 8-bit picture of mode L, RGB or RGBA."""
    array = (pixels.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
