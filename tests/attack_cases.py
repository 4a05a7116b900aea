"""What the tests of attacks stand on: a linear model with known answers, a peer's view of a model, real photographs."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from benchmarks.pictures import IMAGENET_CLASSES
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample


def linear_model(scale: float = 1.0) -> LoadedModel:
    """Logits (0, scale * (w . x + 1)) of 1 x 4 x 4 pixels, unnormalised; w is `linear_weights()`."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.stack([torch.zeros(16), scale * linear_weights()]))
        network[1].bias.copy_(torch.tensor([0.0, scale]))
    return wrap(network, key="tiny/linear", labels=("off", "on"), preprocessing=Preprocessing(1, (4, 4), (0.0,), (1.0,)))


def linear_weights() -> torch.Tensor:
    """Sixteen numbers from -2 to 2.5, none of them zero, four of them negative."""
    return torch.linspace(-2, 2.5, 16).roll(5)


def grey(value: float = 0.5) -> Sample:
    """A flat picture for the linear model, far enough from black and white that no step is clipped."""
    return Sample.from_pixels(torch.full((1, 4, 4), value), "grey")


def random_sample(model: LoadedModel, seed: int = 1) -> Sample:
    """Random pixels of the model's size; some of them near 0 and 1, so that clipping matters."""
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


class InPixelSpace(nn.Module):
    """The model as attack libraries want it: a module from pixels in `[0, 1]` to logits."""

    def __init__(self, model: LoadedModel):
        super().__init__()
        self.network, self.forward = model.network, model.logits
        self.eval()  # a peer that restores the mode it found must not find training


@lru_cache(maxsize=1)
def squeezenet_and_photographs(shared: Path) -> tuple[LoadedModel, tuple[Sample, ...]]:
    """torchvision's SqueezeNet 1.0 at 160 px, and up to eight photographs of ten kinds that it gets right."""
    models = pytest.importorskip("torchvision").models
    weights, archive = shared / "torch_home/hub/checkpoints/squeezenet1_0-b66bff10.pth", shared / "data/imagenette2-160.tar.gz"
    if not (weights.exists() and archive.exists()):
        pytest.skip("SqueezeNet's weights or the Imagenette photographs are not in the shared folder")
    network = models.squeezenet1_0()
    network.load_state_dict(torch.load(weights, weights_only=True))
    model = wrap(network, key="torchvision/squeezenet1_0", preprocessing=Preprocessing(size=(160, 160), crop_fraction=1.0))
    samples = [Sample.from_image(image, model, kind) for kind, image in _first_two_of_each_kind(archive)]
    right = tuple(s for s in samples if model.target(None, s.pixels) == IMAGENET_CLASSES[s.origin])[:8]
    assert len(right) >= 4, "SqueezeNet should recognise some of twenty photographs it was trained on"
    return model, right


def _first_two_of_each_kind(archive: Path) -> list[tuple[str, Image.Image]]:
    found: list[tuple[str, Image.Image]] = []
    seen: Counter[str] = Counter()
    with tarfile.open(archive, "r|gz") as members:
        for member in members:
            kind = Path(member.name).parent.name
            if member.isfile() and kind in IMAGENET_CLASSES and seen[kind] < 2:
                seen[kind] += 1
                found.append((kind, Image.open(io.BytesIO(members.extractfile(member).read())).convert("RGB")))
                if len(found) == 2 * len(IMAGENET_CLASSES):
                    break
    return found
