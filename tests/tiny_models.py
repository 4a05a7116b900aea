"""Five classifiers that run in a millisecond: seeded random weights, every kind of model a technique may meet.

Their heads are scaled until the logits differ between pictures by more than a rounding error, so that a
technique has something to explain and an attack something to fool.
"""

from __future__ import annotations

import torch
from torch import nn

from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing

LABELS = ("tench", "church", "golf ball", "gas pump", "parachute")
SPREAD = 1.5  # standard deviation of the logits over random pictures


def cnn() -> LoadedModel:
    """Three blocks of convolution, batch norm and ReLU, global average pooling, one linear head; 3 x 32 x 32, 5 classes."""
    return _wrap(_blocks, "cnn", LABELS, Preprocessing(3, (32, 32), crop_fraction=1.0))


def transformer() -> LoadedModel:
    """timm's vision transformer: 16 patches and one class token of width 24, two blocks; 3 x 32 x 32, 5 classes."""
    return _wrap(_vision_transformer, "transformer", LABELS, Preprocessing(3, (32, 32), (0.5,) * 3, (0.5,) * 3, crop_fraction=1.0))


def one_channel() -> LoadedModel:
    """A small network of the same make as the bundled digits one: unpadded convolutions, two dense layers; 1 x 28 x 28, 10 classes."""
    return _wrap(_digits, "one_channel", tuple("0123456789"), Preprocessing(1, (28, 28), (0.1307,), (0.3081,), crop_fraction=1.0))


def single_logit() -> LoadedModel:
    """A convolutional network whose head has one logit; 3 x 32 x 32, two opposite classes."""
    return _wrap(lambda: _blocks(classes=1), "single_logit", ("no", "yes"), Preprocessing(3, (32, 32), crop_fraction=1.0))


def several_labels() -> LoadedModel:
    """The convolutional network, each of its 5 outputs read as a yes/no question of its own; 10 classes with the opposites."""
    return _wrap(_blocks, "several_labels", LABELS, Preprocessing(3, (32, 32), crop_fraction=1.0), multi_label=True)


TINY_MODELS = {make.__name__: make for make in (cnn, transformer, one_channel, single_logit, several_labels)}


def fitting(technique) -> LoadedModel:
    """The first of the tiny models that the technique works on."""
    return next(model for model in (make() for make in TINY_MODELS.values()) if technique.why_not(model) is None)


def _wrap(build, name: str, labels: tuple[str, ...], preprocessing: Preprocessing, multi_label: bool = False) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build()
        _fit(network, torch.rand(16, preprocessing.channels, *preprocessing.size), preprocessing)
    title = f"Tiny {name.replace('_', ' ')}"
    return wrap(network, key=f"tiny/{name}", title=title, labels=labels, preprocessing=preprocessing, multi_label=multi_label)


@torch.no_grad()
def _fit(network: nn.Module, noise: torch.Tensor, preprocessing: Preprocessing) -> None:
    """Batch norms take their statistics from pictures of noise and patterns; the head is set so that noise has
    logits about 0, and patterns have logits of standard deviation SPREAD."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    pictures = (torch.cat([noise, _patterns(noise)]) - mean) / std
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0
    network(pictures)
    of_noise, of_patterns = network.eval()(pictures).chunk(2)
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    scale = SPREAD / of_patterns.std(0)
    head.bias.copy_((head.bias - of_noise.mean(0)) * scale)
    head.weight *= scale[:, None]


def _patterns(noise: torch.Tensor) -> torch.Tensor:
    """One striped, coloured picture for each picture of noise."""
    count, channels, height, width = noise.shape
    number = torch.arange(1, count + 1).view(-1, 1, 1, 1)
    waves = torch.sin(number * torch.linspace(0, 6, height).view(1, 1, -1, 1) + torch.linspace(0, 9, width))
    return ((waves * 0.35 + 0.35) * 2 * noise[:, :, :1, :1] + 0.2 * noise).clamp(0, 1)


def _blocks(classes: int = len(LABELS)) -> nn.Module:
    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    return nn.Sequential(
        block(3, 8, 1), block(8, 12, 2), block(12, 16, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes)
    )  # fmt: skip


def _vision_transformer() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2, num_classes=len(LABELS))


def _digits() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(200, 16), nn.ReLU(), nn.Linear(16, 10),
    )  # fmt: skip
