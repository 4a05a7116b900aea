"""What the tests of class activation maps share: networks with random weights, and the maps of other libraries brought to ours.

pytorch-grad-cam and torchcam scale each map to [0, 1], pytorch-grad-cam before it enlarges it. The peers are therefore
asked for the map at the resolution of the layer and before that.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample

LABELS = tuple("abcdefgh")
AS_IT_IS = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # pixels go into the network without normalisation


def resnet() -> LoadedModel:
    """timm's ResNet-18 with random weights, on 64 px."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=8, zero_init_last=False)  # or its blocks would hand on their input only
    nn.init.normal_(network.fc.weight, std=0.3)
    return wrap(network, key="resnet18", labels=LABELS, preprocessing=Preprocessing(3, (64, 64), **AS_IT_IS))


def small_resnet() -> LoadedModel:
    """One residual block in each of four stages of 24 to 96 channels, random weights, on 64 px: one pass takes a few milliseconds."""
    from timm.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), channels=(24, 48, 72, 96), num_classes=8, zero_init_last=False)
    nn.init.normal_(network.fc.weight, std=0.3)
    return wrap(network, key="small-resnet", labels=LABELS, preprocessing=Preprocessing(3, (64, 64), **AS_IT_IS))


def sample_for(model: LoadedModel, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def enlarge(values: torch.Tensor | np.ndarray, model: LoadedModel) -> np.ndarray:
    """A map `[h, w]` in the size of the picture, bilinearly."""
    values = torch.as_tensor(values).detach()[None, None].float()
    return nn.functional.interpolate(values, model.preprocessing.size, mode="bilinear")[0, 0].numpy()


def of_pytorch_grad_cam(kind, model: LoadedModel, layer: str, sample: Sample, target: int) -> np.ndarray:
    """The map `[H, W]` of pytorch-grad-cam's class `kind` before its ReLU and its scaling, enlarged as ours are."""
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    kept = []

    class Overheard(kind):
        def get_cam_image(self, *arguments, **named):
            kept.append(super().get_cam_image(*arguments, **named))
            return kept[-1]

    with Overheard(model.network, [model.module(layer)]) as peer:
        peer(sample.pixels.clone().requires_grad_(), [ClassifierOutputTarget(target)])
    return enlarge(kept[0][0], model)


def of_torchcam(kind, model: LoadedModel, layer: str, sample: Sample, target: int, **settings) -> np.ndarray:
    """The map `[H, W]` of torchcam's class `kind`, not scaled, enlarged as ours are."""
    with kind(model.network, layer, input_shape=tuple(sample.pixels.shape[1:]), **settings) as peer:
        scores = model.network(sample.pixels.clone().requires_grad_())
        (values,) = peer(target, scores, normalized=False)
    return enlarge(values[0], model)


def far(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference as a share of the largest expected value."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))
