"""A picture on its way through the techniques: what was given, and the pixels the model sees."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError
from techniques.base.pictures import ReadPicture

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from model_zoo.preprocessing import Preprocessing


SMALL_SIDE = 32  # pixels


@dataclass(frozen=True, eq=False)
class Sample:
    """One picture for one model.

    `pixels` is float32 `[1, C, H, W]` in `[0, 1]`, exactly what the model sees before its normalisation.
    `image` is the picture it came from, `origin` says in words where that came from, `framing` how it was made as large
    as the model wants it. With `exact` the pixels themselves are the thing (an adversarial picture, say) and are
    handed on at full precision. `group` names the kind of pictures that it belongs to in a set, "" for none.
    """

    pixels: torch.Tensor
    image: Image.Image
    origin: str = "picture"
    notes: tuple[str, ...] = ()
    exact: bool = False
    framing: str = "model"
    group: str = ""

    @classmethod
    def from_image(
        cls, image: Image.Image, model: LoadedModel, origin: str = "picture", notes: tuple[str, ...] = (), framing: str = "model"
    ) -> Sample:
        """The picture as large as the model wants it; a note says when it had to be enlarged much.

        `framing` is one of `model_zoo.preprocessing.FRAMINGS`; ParameterError for any other.
        """
        return Waiting(ReadPicture(image, origin, notes), model.preprocessing.framed(framing), framing).sample()

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
        if self.exact:
            return hashlib.sha256(str(tuple(self.pixels.shape)).encode() + self.pixels.cpu().contiguous().numpy().tobytes()).hexdigest()
        return image_sha256(self.image)


@dataclass(frozen=True, eq=False)
class Waiting:
    """A picture of a set that becomes a `Sample` each time its turn comes: a thousand of them do not take the memory of a
    thousand inputs. `preprocessing` is the model's, framed as `framing` says."""

    picture: ReadPicture
    preprocessing: Preprocessing
    framing: str

    @property
    def origin(self) -> str:
        return self.picture.origin

    @property
    def group(self) -> str:
        return self.picture.group

    def sample(self) -> Sample:
        """The picture as large as the model wants it; a note says when it had to be enlarged much."""
        image, notes = self.picture.image, self.picture.notes
        if min(image.size) < min(SMALL_SIDE, *self.preprocessing.size):
            notes += (f"very small picture ({image.width}×{image.height}): maps will be coarse",)
        pixels = self.preprocessing.pixels(image)
        return Sample(pixels, image, self.origin, notes, framing=self.framing, group=self.group)


@dataclass(frozen=True, eq=False)
class Samples:
    """An ordered set of pictures for one model. A picture that is `Waiting` is made anew each time it is asked for, so go
    through a large set in `batches`. With `device` the pixels are copies there."""

    items: tuple[Sample | Waiting, ...]
    device: torch.device | None = None

    @classmethod
    def of(cls, pictures: Iterable[ReadPicture | Sample], model: LoadedModel, framing: str = "model") -> Samples:
        """The set of these pictures; `framing` as in `Sample.from_image`, samples keep their own."""
        own = model.preprocessing.framed(framing)
        return cls(tuple(picture.fit(model) if isinstance(picture, Sample) else Waiting(picture, own, framing) for picture in pictures))

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        item = self.items[index]
        sample = item.sample() if isinstance(item, Waiting) else item
        return sample if self.device is None else replace(sample, pixels=sample.pixels.to(self.device, copy=True))

    @property
    def pixels(self) -> torch.Tensor:
        """The pixels of all pictures, `[N, C, H, W]`."""
        return torch.cat([sample.pixels for sample in self])

    @property
    def origins(self) -> list[str]:
        """Where each picture came from; none of them is made for this."""
        return [item.origin for item in self.items]

    @property
    def groups(self) -> dict[str, Samples]:
        """The pictures of each named group, groups in the order in which they are met; pictures without one are left out."""
        names = dict.fromkeys(item.group for item in self.items if item.group)
        return {name: self.only(index for index, item in enumerate(self.items) if item.group == name) for name in names}

    def only(self, positions: Iterable[int]) -> Samples:
        """The set of the pictures at these positions."""
        return replace(self, items=tuple(self.items[position] for position in positions))

    def batches(self, size: int) -> list[Samples]:
        """The set in parts of at most `size` pictures."""
        return [replace(self, items=self.items[start : start + size]) for start in range(0, len(self.items), size)]


def image_sha256(image: Image.Image) -> str:
    """SHA-256 of a picture's mode, size and 8-bit values."""
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()


def to_image(pixels: torch.Tensor) -> Image.Image:
    """Pixels `[C, H, W]` in `[0, 1]` rounded to an 8-bit picture of mode L, RGB or RGBA: the numbers of the file that is downloaded."""
    levels = (pixels.detach().cpu().double().clamp(0, 1) * 255).round()  # in float32 many a product would be a tie that is none
    array = levels.to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
