"""The cases of class activation maps: every method of the family beside the libraries that have it, for five classes.

On ResNet-50 the two methods that run the network once per channel look at layers of fewer channels than its last one: 2048
passes of a peer take minutes, and cost per channel is what is compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

import torch

from benchmarks.cases import Case, as_module, bundled, forward, installed, noise, resnet50, technique
from model_zoo.loaded import LoadedModel

CLASSES = 5
NEVER_SLOWER = 1.1  # one run differs from the next by a tenth


class Method(NamedTuple):
    """What the libraries call a technique, where they have it; and the layers that are looked at where it is not the default one."""

    captum: str | None
    pytorch_grad_cam: str | None
    torchcam: str | None
    per_channel: bool = False
    layer_of_resnet50: str | None = None


METHODS = {
    "grad_cam": Method("LayerGradCam", "GradCAM", "GradCAM"),
    "hires_cam": Method(None, "HiResCAM", None),
    "grad_cam_plus_plus": Method(None, "GradCAMPlusPlus", "GradCAMpp"),
    "xgrad_cam": Method(None, "XGradCAM", "XGradCAM"),
    "layer_cam": Method(None, "LayerCAM", "LayerCAM"),
    "finer_cam": Method(None, "FinerCAM", "FinerCAM"),
    "cam": Method(None, None, "CAM"),
    "eigen_cam": Method(None, "EigenCAM", None),
    "score_cam": Method(None, "ScoreCAM", "ScoreCAM", True, "layer1"),
    "ablation_cam": Method(None, "AblationCAM", None, True, "layer3"),
}
ONE_MAP = ("finer_cam", "eigen_cam")  # no map per class: one contrast, or none


def case_of(name: str, make: Callable[[str], LoadedModel], device: str) -> Case:
    """Ours for the five most probable classes in one run; theirs in a call each, but one call where every class costs hundreds of passes."""
    model, method = make(device), METHODS[name]
    sample, pixels = noise(model)
    layer = method.layer_of_resnet50 if model.key == "resnet50" and method.per_channel else model.default_layer
    module, wrapped = model.module(layer), as_module(model)
    with torch.no_grad():
        classes = model.logits(pixels)[0].argsort(descending=True)[: 1 if method.per_channel or name in ONE_MAP else CLASSES].tolist()

    def captum() -> None:
        peer = getattr(importlib.import_module("captum.attr"), method.captum)(model.logits, module)
        for target in classes:
            peer.attribute(pixels, target=target, relu_attributions=True)

    def pytorch_grad_cam() -> None:
        with getattr(importlib.import_module("pytorch_grad_cam"), method.pytorch_grad_cam)(wrapped, [module]) as peer:
            for target in classes:
                peer(pixels.clone().requires_grad_(), None if name in ONE_MAP else [lambda logits, target=target: logits[target]])

    def torchcam() -> None:
        settings = {"fc_layer": f"network.{model.head}"} if name == "cam" else {}
        kind = getattr(importlib.import_module("torchcam.methods"), method.torchcam)
        with kind(wrapped, f"network.{layer}", input_shape=tuple(pixels.shape[1:]), **settings) as peer:
            for target in classes:
                peer(target, wrapped(pixels.clone().requires_grad_()))

    calls = f"{len(classes)} call{'s' * (len(classes) > 1)}"
    peers = {"captum": captum, "pytorch-grad-cam": pytorch_grad_cam, "torchcam": torchcam}
    there = {f"{library}, {calls}": call for library, call in peers.items() if getattr(method, library.replace("-", "_"))}
    others, missing = installed(there)
    bar = 0.2 if method.per_channel else NEVER_SLOWER
    settings = {} if name == "cam" else {"layer": layer}
    settings |= {"channels": 4096, "fill": "black"} if name == "score_cam" else {}
    where = f", {model.layer(layer).channels} channels" if method.per_channel else ""
    title = f"{technique_title(name)}{where} ({model.title})"
    bars = dict.fromkeys(others, bar)
    return Case(title, technique(name, sample, model, **settings), {"one bare forward pass": lambda: forward(model, pixels)} | others, bars, missing)


def technique_title(name: str) -> str:
    import techniques

    found = techniques.find(name).title
    return found if name in ONE_MAP else f"{found}, five classes"


def _case(name: str, make: Callable[[str], LoadedModel]) -> Callable[[str], Case]:
    return lambda device: case_of(name, make, device)


CLASS_MAPS: dict[str, Callable[[str], Case]] = {
    f"{name}_{network}": _case(name, make)
    for name in METHODS
    for network, make in (("resnet50", resnet50), ("imagenette", lambda device: bundled("imagenette", device)))
}
