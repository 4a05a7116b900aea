"""Labelled pictures that no model here was trained on, for measurements of attacks: the validation part of Imagenette (10 of
ImageNet's classes, https://github.com/fastai/imagenette) and MNIST's test digits."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model_zoo.loaded import LoadedModel, wrap

# The ten kinds of photographs, by their number among the classes of ImageNet; in this order they are the classes of bundled/imagenette.
IMAGENET_CLASSES = {
    "n01440764": 0, "n02102040": 217, "n02979186": 482, "n03000684": 491, "n03028079": 497,
    "n03394916": 566, "n03417042": 569, "n03425413": 571, "n03445777": 574, "n03888257": 701,
}  # fmt: skip


def photographs(archive: Path, part: str, of_each_kind: int) -> list[tuple[str, Image.Image]]:
    """The first photographs of each kind in a part of `imagenette2-160.tar.gz`, "train" or "val", as (kind, RGB picture), kinds taking turns."""
    found: dict[str, list[Image.Image]] = {kind: [] for kind in IMAGENET_CLASSES}
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            path = Path(member.name)
            of_kind = found.get(path.parent.name)
            if not member.isfile() or path.parent.parent.name != part or of_kind is None or len(of_kind) == of_each_kind:
                continue
            of_kind.append(Image.open(io.BytesIO(members.extractfile(member).read())).convert("RGB"))
            if all(len(pictures) == of_each_kind for pictures in found.values()):
                break
    return [(kind, pictures[turn]) for turn in range(of_each_kind) for kind, pictures in found.items() if turn < len(pictures)]


def digits(archive: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first of MNIST's test digits in `mnist.npz`: pixels `[N, 1, 28, 28]` in `[0, 1]`, and their classes `[N]`."""
    with np.load(archive, allow_pickle=False) as arrays:
        pixels, classes = arrays["x_test"][:count], arrays["y_test"][:count]
    return torch.from_numpy(pixels)[:, None].float() / 255, torch.from_numpy(classes).long()


def recognised(model: LoadedModel, data: Path, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Up to so many pictures that a model of Imagenette's, ImageNet's or MNIST's classes gets right, from the archives in the folder
    `data`: pixels `[N, C, H, W]` in `[0, 1]`, and their classes `[N]`."""
    if model.preprocessing.channels == 1:
        pixels, classes = digits(data / "mnist.npz", 2 * most)
    else:
        pictures = photographs(data / "imagenette2-160.tar.gz", "val", -(-3 * most // len(IMAGENET_CLASSES)))
        numbers = IMAGENET_CLASSES if model.classes > 10 else {kind: number for number, kind in enumerate(IMAGENET_CLASSES)}
        pixels = torch.cat([model.preprocessing.pixels(picture) for _, picture in pictures])
        classes = torch.tensor([numbers[kind] for kind, _ in pictures])
    with torch.no_grad():
        right = torch.cat([model.logits(part) for part in pixels.split(32)]).argmax(1) == classes
    return pixels[right][:most], classes[right][:most]


def of_size(model: LoadedModel, side: int) -> LoadedModel:
    """The same network for pictures of another size; all of a picture is used, up to its middle square."""
    preprocessing = replace(model.preprocessing, size=(side, side), crop_fraction=1.0)
    return wrap(model.network, key=model.key, title=model.title, labels=model.labels, preprocessing=preprocessing)
