"""The two classifiers that come with Loupe: their networks, labels and preprocessing.

`model_zoo/train.py` trains them, `model_zoo/weights/` holds the result with a model card each.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Bundled:
    """A classifier trained by this project."""

    name: str
    title: str
    build: Callable[[], nn.Module]
    labels: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def weights(self) -> Path:
        return WEIGHTS / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        return WEIGHTS / f"{self.name}.md"


def digits_network() -> nn.Module:
    """Three unpadded 3x3 convolutions and two dense layers; 159,254 parameters; input `[B, 1, 28, 28]`."""
    from torch import nn

    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 32, 3),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(32, 64, 3),
            relu2=nn.ReLU(),
            conv3=nn.Conv2d(64, 64, 3),
            relu3=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            dense1=nn.Linear(1024, 100),
            relu4=nn.ReLU(),
            dense2=nn.Linear(100, 10),
        )
    )


def imagenette_network(output_stride: int = 16) -> nn.Module:
    """A ResNet-18-D at half width; 2.8 M parameters; input `[B, 3, 160, 160]`.

    With `output_stride` 16 the last stage keeps the resolution of the one before (its filters dilated), so
    that a 160 px picture ends in a 10 x 10 map and heat maps are four times finer than with the usual 32.
    Both strides share the same weights.
    """
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(
        BasicBlock,
        layers=(2, 2, 2, 2),
        channels=(32, 64, 128, 256),
        stem_type="deep",
        stem_width=16,
        avg_down=True,
        num_classes=10,
        output_stride=output_stride,
    )


DIGITS = Bundled(
    name="digits",
    title="Handwritten digits",
    build=digits_network,
    labels=tuple("0123456789"),
    channels=1,
    size=28,
    mean=(0.1307,),
    std=(0.3081,),
)

IMAGENETTE = Bundled(
    name="imagenette",
    title="Imagenette, ten kinds of photographs",
    build=imagenette_network,
    labels=(
        "tench",
        "English springer",
        "cassette player",
        "chain saw",
        "church",
        "French horn",
        "garbage truck",
        "gas pump",
        "golf ball",
        "parachute",
    ),
    channels=3,
    size=160,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)

BUNDLED = {bundled.name: bundled for bundled in (DIGITS, IMAGENETTE)}
