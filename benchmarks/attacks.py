"""The cases of attacks: the search alone, without the report, beside libraries at as many steps or queries, on a photograph.

Ours ends knowing what the model says to the picture it found, at one forward pass more; theirs are followed by that pass, which
whoever wants to know whether they succeeded has to make. DeepFool's end when the border is crossed, after equal steps; ours goes on
to find the border by ten forward passes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch

import model_zoo
import techniques
from benchmarks.cases import Case, as_module, backward, forward, installed
from model_zoo.loaded import LoadedModel, wrap
from techniques.base import Run, Sample
from techniques.base.attacks import attack_pixels
from techniques.base.pictures import read_picture
from ui.samples import photographs

NEVER_SLOWER = 1.1  # one run differs from the next by a tenth
STEPS = 10
MANY = 60  # as many as an optimiser needs
QUERIES = 300
CANDIDATES = 50
EPSILON = 4.0
SMALL = 0.25  # too small an epsilon for a black box: all of its queries are asked
BARE = "its bare forward and backward passes"

Peer = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], Any]


class Method(NamedTuple):
    """An attack with our `settings`, and the same by name of the library; what its title says about its length."""

    settings: Mapping[str, Any]
    peers: Mapping[str, Peer]
    length: str


def torchattacks(kind: str, **settings: Any) -> Peer:
    return lambda network, pixels, predicted: getattr(importlib.import_module("torchattacks"), kind)(network, **settings)(pixels, predicted)


def foolbox(kind: str, epsilon: float | None = None, **settings: Any) -> Peer:
    def run(network: torch.nn.Module, pixels: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
        library = importlib.import_module("foolbox")
        view = library.PyTorchModel(network, bounds=(0, 1), device=pixels.device)
        return getattr(library.attacks, kind)(**settings)(view, pixels, predicted, epsilons=epsilon)[1]

    return run


def hop_skip_jump(network: torch.nn.Module, pixels: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """foolbox's, stopped after as many queries as ours; it knows no such limit itself."""
    view, asked, last = importlib.import_module("foolbox"), 0, pixels

    class Spent(Exception):
        pass

    def ask(tried: torch.Tensor) -> torch.Tensor:
        nonlocal asked, last
        asked, last = asked + len(tried), tried
        if asked > QUERIES:
            raise Spent
        return network(tried)

    counted = torch.nn.Module()
    counted.forward = ask
    try:
        model = view.PyTorchModel(counted.eval(), bounds=(0, 1), device=pixels.device)
        view.attacks.HopSkipJumpAttack().run(model, pixels, view.criteria.Misclassification(predicted))
    except Spent:
        return last


LINF = {"eps": EPSILON / 255, "alpha": EPSILON / 255 / STEPS, "steps": STEPS}
METHODS: dict[str, Method] = {
    "attack_fgsm": Method({"epsilon": EPSILON}, {"torchattacks": torchattacks("FGSM", eps=EPSILON / 255)}, ""),
    "i_fgsm": Method(
        {"epsilon": EPSILON, "steps": STEPS, "step_size": 1 / STEPS},
        {
            "torchattacks": torchattacks("BIM", **LINF),
            "foolbox": foolbox("LinfBasicIterativeAttack", EPSILON / 255, steps=STEPS, rel_stepsize=1 / STEPS, random_start=False),
        },
        f", {STEPS} steps",
    ),
    "mi_fgsm": Method({"epsilon": EPSILON, "steps": STEPS}, {"torchattacks": torchattacks("MIFGSM", **LINF)}, f", {STEPS} steps"),
    "pgd": Method(
        {"epsilon": EPSILON, "steps": STEPS, "step_size": 1 / STEPS},
        {"torchattacks": torchattacks("PGD", **LINF), "foolbox": foolbox("LinfPGD", EPSILON / 255, steps=STEPS, rel_stepsize=1 / STEPS)},
        f", {STEPS} steps",
    ),
    "carlini_wagner": Method(
        {"steps": MANY, "searches": 1},
        {
            "torchattacks": torchattacks("CW", steps=MANY, lr=1e-5),  # at larger rates it ends before its steps are taken
            "foolbox": foolbox("L2CarliniWagnerAttack", steps=MANY, binary_search_steps=1, abort_early=False),
        },
        f", {MANY} steps",
    ),
    "deep_fool": Method({}, {"torchattacks": torchattacks("DeepFool"), "foolbox": foolbox("L2DeepFoolAttack")}, ""),
    "one_pixel": Method(
        {"population": CANDIDATES, "generations": STEPS},
        {"torchattacks": torchattacks("OnePixel", popsize=CANDIDATES, steps=STEPS)},
        f", {STEPS} generations of {CANDIDATES}",
    ),
    "square": Method(
        {"epsilon": SMALL, "queries": QUERIES},
        {"torchattacks": torchattacks("Square", eps=SMALL / 255, n_queries=QUERIES - 1, p_init=0.3)},
        f", {QUERIES} queries",
    ),
    "hop_skip_jump": Method({"queries": QUERIES}, {"foolbox": hop_skip_jump}, f", {QUERIES} queries"),
}


def case_of(name: str, device: str) -> Case:
    """Ours and theirs on one photograph, away from the predicted class."""
    model, method, found = photo_model(device), METHODS[name], techniques.find(name.removeprefix("attack_"))
    pixels = Sample.from_image(read_picture(photographs()[0].path).image, model).pixels.to(device)
    logits = model.logits(pixels)
    goal, network = found.attack.goal(model, logits, None), as_module(model)

    def followed(peer: Peer) -> Callable[[], None]:
        return lambda: forward(model, peer(network, pixels.clone(), logits.argmax(1)))

    others, missing = installed({library: followed(peer) for library, peer in method.peers.items()})
    bars = dict.fromkeys(others, NEVER_SLOWER)
    if name == "pgd":
        others, bars = {BARE: lambda: passes(model, pixels)} | others, {BARE: NEVER_SLOWER} | bars
    title = f"{found.title}'s search{method.length} ({model.title})"
    return Case(title, lambda: attack_pixels(found, model, pixels, goal, Run(), **method.settings), others, bars, missing)


def photo_model(device: str) -> LoadedModel:
    """bundled/imagenette with its weights: how long a black box searches depends on what it is told."""
    model = model_zoo.load("bundled/imagenette")
    return wrap(model.network.to(device), key=model.key, title=model.title, labels=model.labels, preprocessing=model.preprocessing)


def passes(model: LoadedModel, pixels: torch.Tensor) -> None:
    for _ in range(STEPS):
        backward(model, pixels)
    forward(model, pixels)


def _case(name: str) -> Callable[[str], Case]:
    return lambda device: case_of(name, device)


ATTACKS: dict[str, Callable[[str], Case]] = {name: _case(name) for name in METHODS}
"""By name; the search of FGSM has another name than the whole technique among the cases."""
