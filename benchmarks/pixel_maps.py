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

Peer = Callable[[Any, LoadedModel, torch.nn.Module, torch.Tensor, int], Any]
Settings = dict[str, Any]

METHODS: dict[str, tuple[Settings, Peer]] = {
    "input_x_gradient": (
        {},
        lambda attr, model, _, pixels, target: (attr.InputXGradient(model.logits).attribute(pixels, target=target), model.probabilities(0 * pixels)),
    ),
    "guided_backpropagation": ({}, lambda attr, _, network, pixels, target: attr.GuidedBackprop(network).attribute(pixels, target=target)),
    "deconvolution": ({}, lambda attr, _, network, pixels, target: attr.Deconvolution(network).attribute(pixels, target=target)),
    "guided_grad_cam": (
        {},
        lambda attr, model, network, pixels, target: attr.GuidedGradCam(network, model.module(model.default_layer)).attribute(pixels, target=target),
    ),
    "deep_lift": ({}, lambda attr, _, network, pixels, target: attr.DeepLift(network).attribute(pixels, target=target, baselines=0 * pixels)),
    "smooth_grad": (
        {"samples": SAMPLES},
        lambda attr, model, _, pixels, target: attr.NoiseTunnel(attr.Saliency(model.logits)).attribute(
            pixels, nt_samples=SAMPLES, nt_samples_batch_size=5, stdevs=0.15, target=target
        ),
    ),
    "integrated_gradients": (
        {"steps": SAMPLES},
        lambda attr, model, _, pixels, target: attr.IntegratedGradients(model.logits).attribute(
            pixels, baselines=0, n_steps=SAMPLES, internal_batch_size=5, target=target, return_convergence_delta=True
        ),
    ),
    "gradient_shap": (
        {"samples": SAMPLES},
        lambda attr, model, _, pixels, target: attr.GradientShap(model.logits).attribute(
            pixels, baselines=torch.rand(SAMPLES, *pixels.shape[1:]), n_samples=SAMPLES, target=target, return_convergence_delta=True
        ),
    ),
}  # fmt: skip


def case_of(name: str, make: Callable[[str], LoadedModel], device: str) -> Case:
    """Ours for the predicted class, and theirs; both ask the network what the map should add up to, where the method promises that."""
    model, (settings, peer) = make(device), METHODS[name]
    sample, pixels = noise(model)
    network, target = as_module(model), model.target(None, pixels)

    def captum() -> None:
        peer(importlib.import_module("captum.attr"), model, network, pixels.clone().requires_grad_(), target)

    others, missing = installed({"captum": captum})
    title = f"{techniques.find(name).title} ({model.title})"
    bare = {"one bare forward and backward pass": lambda: backward(model, pixels)}
    return Case(title, technique(name, sample, model, target=target, **settings), bare | others, dict.fromkeys(others, NEVER_SLOWER), missing)


def _case(name: str, make: Callable[[str], LoadedModel]) -> Callable[[str], Case]:
    return lambda device: case_of(name, make, device)


PIXEL_MAPS: dict[str, Callable[[str], Case]] = {
    f"{name}_{network}": _case(name, make)
    for name in METHODS
    for network, make in (("resnet50", resnet50), ("imagenette", lambda device: bundled("imagenette", device)))
}
