"""The cases of attributions by gradients: each method beside captum's, with as many samples or steps, in captum's own batches."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

import techniques
from benchmarks.cases import Case, as_module, backward, bundled, installed, noise, resnet50, technique
from model_zoo.loaded import LoadedModel

NEVER_SLOWER = 1.1  # one run differs from the next by a tenth
SAMPLES = 20  # noisy copies, steps or baselines
TARGET = 3

Peer = Callable[[Any, LoadedModel, torch.nn.Module, torch.Tensor], Any]
Settings = dict[str, Any]

METHODS: dict[str, tuple[Settings, Peer]] = {
    "input_x_gradient": ({}, lambda attr, model, _, pixels: attr.InputXGradient(model.logits).attribute(pixels, target=TARGET)),
    "guided_backpropagation": ({}, lambda attr, _, network, pixels: attr.GuidedBackprop(network).attribute(pixels, target=TARGET)),
    "deconvolution": ({}, lambda attr, _, network, pixels: attr.Deconvolution(network).attribute(pixels, target=TARGET)),
    "guided_grad_cam": (
        {},
        lambda attr, model, network, pixels: attr.GuidedGradCam(network, model.module(model.default_layer)).attribute(pixels, target=TARGET),
    ),
    "deep_lift": ({}, lambda attr, _, network, pixels: attr.DeepLift(network).attribute(pixels, target=TARGET, baselines=0 * pixels)),
    "smooth_grad": (
        {"samples": SAMPLES},
        lambda attr, model, _, pixels: attr.NoiseTunnel(attr.Saliency(model.logits)).attribute(
            pixels, nt_samples=SAMPLES, nt_samples_batch_size=5, stdevs=0.15, target=TARGET
        ),
    ),
    "integrated_gradients": (
        {"steps": SAMPLES},
        lambda attr, model, _, pixels: attr.IntegratedGradients(model.logits).attribute(
            pixels, baselines=0, n_steps=SAMPLES, internal_batch_size=5, target=TARGET, return_convergence_delta=True
        ),
    ),
    "gradient_shap": (
        {"samples": SAMPLES},
        lambda attr, model, _, pixels: attr.GradientShap(model.logits).attribute(
            pixels, baselines=torch.rand(SAMPLES, *pixels.shape[1:]), n_samples=SAMPLES, target=TARGET, return_convergence_delta=True
        ),
    ),
}  # fmt: skip


def case_of(name: str, make: Callable[[str], LoadedModel], device: str) -> Case:
    """Ours for one class, and theirs; both tell how far the map adds up, where the method promises that it does."""
    model, (settings, peer) = make(device), METHODS[name]
    sample, pixels = noise(model)
    network = as_module(model)

    def captum() -> None:
        peer(importlib.import_module("captum.attr"), model, network, pixels.clone().requires_grad_())

    others, missing = installed({"captum": captum})
    title = f"{techniques.find(name).title} ({model.title})"
    bare = {"one bare forward and backward pass": lambda: backward(model, pixels)}
    return Case(title, technique(name, sample, model, target=TARGET, **settings), bare | others, dict.fromkeys(others, NEVER_SLOWER), missing)


def _case(name: str, make: Callable[[str], LoadedModel]) -> Callable[[str], Case]:
    return lambda device: case_of(name, make, device)


PIXEL_MAPS: dict[str, Callable[[str], Case]] = {
    f"{name}_{network}": _case(name, make)
    for name in METHODS
    for network, make in (("resnet50", resnet50), ("imagenette", lambda device: bundled("imagenette", device)))
}
