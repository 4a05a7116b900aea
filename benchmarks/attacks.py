"""The cases of attacks that follow the gradient: the search alone, without the report, beside libraries at as many steps.

DeepFool and foolbox's end when the border is crossed, after equal steps; ours goes on to find the border by ten forward passes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

import techniques
from benchmarks.cases import Case, as_module, backward, bundled, forward, installed, noise
from model_zoo.loaded import LoadedModel
from techniques.base import Run
from techniques.base.attacks import attack_pixels

NEVER_SLOWER = 1.1  # one run differs from the next by a tenth
STEPS = 10
EPSILON = 4 / 255
BARE = "its bare forward and backward passes"

Peer = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], Any]


def torchattacks(kind: str, **settings: Any) -> Peer:
    def run(network: torch.nn.Module, pixels: torch.Tensor, predicted: torch.Tensor) -> None:
        getattr(importlib.import_module("torchattacks"), kind)(network, steps=STEPS, **settings)(pixels, predicted)

    return run


def foolbox(kind: str, epsilon: float | None = None, **settings: Any) -> Peer:
    def run(network: torch.nn.Module, pixels: torch.Tensor, predicted: torch.Tensor) -> None:
        library = importlib.import_module("foolbox")
        view = library.PyTorchModel(network, bounds=(0, 1), device=pixels.device)
        getattr(library.attacks, kind)(**settings)(view, pixels, predicted, epsilons=epsilon)

    return run


LINF = {"eps": EPSILON, "alpha": EPSILON / STEPS}
METHODS: dict[str, tuple[dict[str, Any], dict[str, Peer]]] = {
    "i_fgsm": (
        {"steps": STEPS, "step_size": 1 / STEPS},
        {
            "torchattacks": torchattacks("BIM", **LINF),
            "foolbox": foolbox("LinfBasicIterativeAttack", EPSILON, steps=STEPS, rel_stepsize=1 / STEPS, random_start=False),
        },
    ),
    "mi_fgsm": ({"steps": STEPS}, {"torchattacks": torchattacks("MIFGSM", **LINF)}),
    "pgd": (
        {"steps": STEPS, "step_size": 1 / STEPS, "epsilon": 4.0},
        {"torchattacks": torchattacks("PGD", **LINF), "foolbox": foolbox("LinfPGD", EPSILON, steps=STEPS, rel_stepsize=1 / STEPS)},
    ),
    "carlini_wagner": (
        {"steps": STEPS, "searches": 1},
        {
            "torchattacks": torchattacks("CW", lr=1e-5),  # at larger rates it ends before its steps are taken
            "foolbox": foolbox("L2CarliniWagnerAttack", steps=STEPS, binary_search_steps=1, abort_early=False),
        },
    ),
    "deep_fool": ({}, {"foolbox": foolbox("L2DeepFoolAttack")}),
}


def case_of(name: str, device: str) -> Case:
    """Ours and theirs on one picture of noise, away from the predicted class."""
    model, (settings, peers) = bundled("imagenette", device), METHODS[name]
    found = techniques.find(name)
    _, pixels = noise(model)
    with torch.no_grad():
        logits = model.logits(pixels)
    goal, network = found.attack.goal(model, logits, None), as_module(model)
    made = {library: lambda peer=peer: peer(network, pixels.clone(), logits.argmax(1)) for library, peer in peers.items()}
    others, missing = installed(made)
    bars = dict.fromkeys(others, NEVER_SLOWER)
    if name == "pgd":
        others, bars = {BARE: lambda: passes(model, pixels)} | others, {BARE: NEVER_SLOWER} | bars
    title = f"{found.title}'s search{f', {STEPS} steps' if 'steps' in settings else ''} ({model.title})"
    return Case(title, lambda: attack_pixels(found, model, pixels, goal, Run(), **settings), others, bars, missing)


def passes(model: LoadedModel, pixels: torch.Tensor) -> None:
    for _ in range(STEPS):
        backward(model, pixels)
    forward(model, pixels)


def _case(name: str) -> Callable[[str], Case]:
    return lambda device: case_of(name, device)


ATTACKS: dict[str, Callable[[str], Case]] = {name: _case(name) for name in METHODS}
