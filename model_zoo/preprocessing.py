"""From a picture to the pixels a model sees: the model's own size, crop and interpolation, before normalisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError

FRAMINGS = {
    "model": "as the model was tested",
    "crop": "the middle, cut out",
    "squash": "all of it, squeezed",
    "pad": "all of it, with borders",
}


@dataclass(frozen=True)
class Preprocessing:
    """How one model wants its pictures. `size` is (height, width) in pixels; `mean` and `std` one per channel."""

    channels: int = 3
    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    crop_fraction: float = 0.875
    crop_mode: str = "center"
    interpolation: str = "bicubic"

    @classmethod
    def of_timm(cls, config: dict) -> Preprocessing:
        """Read timm's data configuration (`timm.data.resolve_model_data_config`)."""
        channels, height, width = config["input_size"]
        return cls(
            channels=channels,
            size=(height, width),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            crop_fraction=config["crop_pct"],
            crop_mode=config["crop_mode"],
            interpolation=config["interpolation"],
        )

    @classmethod
    def of_torchvision(cls, transform) -> Preprocessing:
        """Read torchvision's preset for classification (`weights.transforms()`)."""
        (crop,), (resize,) = transform.crop_size, transform.resize_size
        return cls(
            size=(crop, crop),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            crop_fraction=crop / resize,
            interpolation=transform.interpolation.value,
        )

    @property
    def own_framing(self) -> str:
        """The way in words: "cropped to the middle 88 %", "squashed"."""
        words = {"center": "cropped to the middle", "squash": "squashed", "border": "padded"}
        share = "" if self.crop_fraction == 1 else f"{'' if self.crop_mode == 'center' else ' to the middle'} {100 * self.crop_fraction:.0f} %"
        return words[self.crop_mode] + share

    def framed(self, framing: str) -> Preprocessing:
        """The same with another way to make a picture as large as the model wants it, one of FRAMINGS: cut out its largest
        middle part, squeeze all of it, or fill the missing parts with the mean colour. ParameterError for any other."""
        changes = {
            "model": {},
            "crop": {"crop_mode": "center", "crop_fraction": 1.0},
            "squash": {"crop_mode": "squash", "crop_fraction": 1.0},
            "pad": {"crop_mode": "border", "crop_fraction": 1.0},
        }
        if framing not in changes:
            raise ParameterError(f"Framing: received {str(framing)[:60]!r}, expected one of {', '.join(FRAMINGS)}.")
        return replace(self, **changes[framing])

    @cached_property
    def _transform(self):
        from timm.data.transforms_factory import transforms_imagenet_eval

        return transforms_imagenet_eval(
            img_size=self.size,
            crop_pct=self.crop_fraction,
            crop_mode=self.crop_mode,
            interpolation=self.interpolation,
            normalize=False,
        )

    def pixels(self, image: Image.Image) -> torch.Tensor:
        """The picture as the model sees it: float32 `[1, C, H, W]` in `[0, 1]`, resized and cropped by timm's transform.

        For one channel a colour picture becomes grey (ITU-R 601 luma). The fourth channel is opacity: 1 everywhere for a
        picture without transparency, and so for every upload, which is put on white when it is read.
        """
        image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[self.channels])
        return self._transform(image).unsqueeze(0).to(torch.float32) / 255
