"""The cases: each is a technique on one network, the other ways to do the same, and how much of their time it may take.

Networks have random weights, which cost as much as trained ones. Every technique is called through
`techniques.base.execute`, as page and command line do; where the algorithm alone is meant, the case says so. A
library that is not installed is named in `missing`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

import techniques
from model_zoo.bundled import BUNDLED
from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Run, Sample, Samples, execute
from techniques.base.covering import Windows


class Case(NamedTuple):
    """`ours` against each of `others`; `bars` holds the largest share of the other's time that ours may take."""

    title: str
    ours: Callable[[], object]
    others: Mapping[str, Callable[[], object]]
    bars: Mapping[str, float] = {}
    missing: tuple[str, ...] = ()


def resnet50(device: str) -> LoadedModel:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet50").to(device)
    return wrap(network, key="resnet50", title="ResNet-50, 224 px", preprocessing=Preprocessing(3, (224, 224)))


def bundled(name: str, device: str) -> LoadedModel:
    recipe = BUNDLED[name]
    torch.manual_seed(0)
    preprocessing = Preprocessing(recipe.channels, (recipe.size, recipe.size), recipe.mean, recipe.std)
    return wrap(recipe.build().to(device), key=name, title=f"bundled/{name}, {recipe.size} px", labels=recipe.labels, preprocessing=preprocessing)


def grad_cam(device: str) -> Case:
    model = resnet50(device)
    sample, pixels = noise(model)
    module = model.module(model.default_layer)
    five = model.logits(pixels)[0].argsort(descending=True)[:5].tolist()

    def captum() -> None:
        peer = importlib.import_module("captum.attr").LayerGradCam(model.logits, module)
        for target in five:
            peer.attribute(pixels, target=target, relu_attributions=True)

    def pytorch_grad_cam() -> None:
        library = importlib.import_module("pytorch_grad_cam")
        with library.GradCAM(as_module(model), [module]) as peer:
            for target in five:
                peer(pixels.clone().requires_grad_(), [lambda logits, target=target: logits[target]])

    others, missing = installed({"captum, five calls": captum, "pytorch-grad-cam, five calls": pytorch_grad_cam})
    others = {"one bare forward pass": lambda: forward(model, pixels)} | others
    return Case(f"Grad-CAM, five classes ({model.title})", technique("grad_cam", sample, model), others, {"one bare forward pass": 1.6}, missing)


def saliency(device: str) -> Case:
    model = bundled("imagenette", device)
    sample, pixels = noise(model)

    def captum() -> None:
        importlib.import_module("captum.attr").Saliency(model.logits).attribute(pixels.clone().requires_grad_(), target=3)

    others, missing = installed({"captum": captum})
    others = {"one bare forward and backward pass": lambda: backward(model, pixels)} | others
    return Case(f"Saliency ({model.title})", technique("saliency", sample, model, target=3), others, {}, missing)


def occlusion_of(name: str, device: str) -> Case:
    """Windows of 20 %, half a window apart, for both; that their maps are equal is checked first."""
    model = bundled(name, device)
    sample, pixels = noise(model)
    places = Windows.over(pixels.shape[2:], 20, 50)
    windows, channels, step = math.prod(places.counts), pixels.shape[1], places.tops.step

    def captum(**settings) -> torch.Tensor:
        peer = importlib.import_module("captum.attr").Occlusion(model.logits)
        return peer.attribute(pixels, (channels, places.side, places.side), (channels, step, step), 0.5, target=3, **settings)

    def passes() -> None:
        for _ in range(windows):
            forward(model, pixels)

    ours = technique("occlusion", sample, model, target=3, window=20, stride=50)
    others, missing = installed({"captum, its default": captum, "captum, 16 at a time": lambda: captum(perturbations_per_eval=16)})
    if others:
        expected = captum()[0, 0].cpu()
        if not torch.allclose(torch.from_numpy(ours().logit_drop.values), expected, atol=1e-3 * float(expected.abs().max())):
            raise AssertionError(f"occlusion and captum disagree on {model.title}; their times cannot be compared")
    others = {f"{windows} bare forward passes": passes} | others
    return Case(f"Occlusion, {windows} windows ({model.title})", ours, others, {"captum, its default": 0.25}, missing)


def fgsm(device: str) -> Case:
    model = bundled("imagenette", device)
    sample, pixels = noise(model)
    predicted = model.logits(pixels).argmax(1)

    def torchattacks() -> None:
        importlib.import_module("torchattacks").FGSM(as_module(model), eps=4 / 255)(pixels, predicted)

    others, missing = installed({"torchattacks": torchattacks})
    others = {"one bare forward and backward pass": lambda: backward(model, pixels)} | others
    title = f"FGSM with white noise and predictions before and after ({model.title})"
    return Case(title, technique("fgsm", sample, model), others, {}, missing)


def average_activation(device: str) -> Case:
    """All convolution and linear layers, two groups of 16 pictures, the average alone."""
    from techniques.base.activations import average_maps

    model = bundled("imagenette", device)
    samples = Samples(tuple(noise(model, seed)[0] for seed in range(32)))
    groups = [Samples(samples.items[:16]), Samples(samples.items[16:])]
    layers = [layer for layer in model.layers if layer.weighted]

    def passes() -> None:
        for group in groups:
            forward(model, torch.cat([sample.pixels for sample in group]))

    title = f"Average activation, 32 pictures ({model.title})"
    return Case(title, lambda: average_maps(model, layers, groups, Run()), {"bare forward passes": passes})


CASES: dict[str, Callable[[str], Case]] = {
    "grad_cam": grad_cam,
    "saliency": saliency,
    "occlusion": lambda device: occlusion_of("imagenette", device),
    "occlusion_digits": lambda device: occlusion_of("digits", device),
    "fgsm": fgsm,
    "average_activation": average_activation,
}


def technique(name: str, sample: Sample, model: LoadedModel, **settings) -> Callable[[], object]:
    found = techniques.find(name)
    return lambda: execute(found, sample, model, settings)


def noise(model: LoadedModel, seed: int = 0) -> tuple[Sample, torch.Tensor]:
    """A sample of uniform noise, and its pixels on the model's device."""
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    sample = Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(model.device), "noise")
    return sample, sample.pixels


def forward(model: LoadedModel, pixels: torch.Tensor) -> None:
    with torch.no_grad():
        model.logits(pixels)


def backward(model: LoadedModel, pixels: torch.Tensor) -> None:
    """One forward pass and one backward pass to the pixels."""
    pixels = pixels.clone().requires_grad_()
    torch.autograd.grad(model.logits(pixels)[0, 3], pixels)


def as_module(model: LoadedModel) -> torch.nn.Module:
    """The model as other libraries want it: a module that takes pixels."""

    class Pixels(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = model.network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return model.logits(pixels)

    return Pixels().eval()


def installed(peers: Mapping[str, Callable]) -> tuple[dict[str, Callable], tuple[str, ...]]:
    """The peers whose library, the first word of their name, can be imported, and the names of those whose cannot."""
    found, missing = {}, []
    for name, call in peers.items():
        try:
            importlib.import_module(name.split(",")[0].replace("-", "_"))
            found[name] = call
        except ImportError:
            missing.append(name)
    return found, tuple(missing)
