"""What a logit's gradient becomes when it may pass the rectifiers of a network only where it is positive.

Guided backpropagation: Springenberg, Dosovitskiy, Brox and Riedmiller 2015, arXiv:1412.6806, the section on deconvolution
and figure 1: at each ReLU the gradient passes where the ReLU let its input through and where the gradient itself is
positive. The deconvolutional network: Zeiler and Fergus 2014, arXiv:1311.2901, section 2.1: the signal on its way back
goes through a ReLU of its own, whatever the ReLU on the way there let through.

Departure, for networks whose activations are only like a ReLU (leaky ReLU, ELU, SiLU, Hardswish, GELU ...): guided
backpropagation multiplies with their slope and cuts off what is negative before and after; the deconvolutional network
leaves the slope away and cuts off what is negative. At a ReLU both are the rule of the paper. Activations are found
where they are called (`techniques.base.calls`). Gates (sigmoids), attention and normalisation keep their gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from techniques.base.calls import depends, in_its_place, intercepting
from techniques.base.hooks import gradient_at

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

RECTIFIERS = {
    "relu": "ReLU", "relu6": "ReLU6", "hardtanh": "ReLU6", "clamp": "ReLU by clamping", "clamp_min": "ReLU by clamping", "clip": "ReLU by clamping",
    "threshold": "ReLU by threshold", "leaky_relu": "leaky ReLU", "rrelu": "leaky ReLU", "prelu": "PReLU", "elu": "ELU", "selu": "SELU",
    "celu": "CELU", "softplus": "Softplus", "silu": "SiLU", "mish": "Mish", "gelu": "GELU", "hardswish": "Hardswish",
}  # fmt: skip
LIMITED = ("hardtanh", "clamp", "clamp_min", "clip", "threshold")  # rectifiers only where they cut at zero
TRUE = {"ReLU", "ReLU6", "ReLU by clamping", "ReLU by threshold"}
WITHOUT = "without a ReLU, or an activation like it, this is the plain gradient. Saliency shows that."


class Rectified(NamedTuple):
    """The rectified gradient `[1, C, H, W]` of one logit, which class it is, and how many of which activation made it."""

    gradient: torch.Tensor
    target: int
    met: Counter

    @property
    def told(self) -> str:
        """Where the rule acted, as sentences."""
        uses = ", ".join(f"{count} {name}" for name, count in self.met.most_common())
        others = [name for name in self.met if name not in TRUE]
        if not others:
            return f"What is negative was cut off at {uses}, wherever the network calls them."
        like = f"{' and '.join(others)} only {'resembles' if len(others) == 1 else 'resemble'} it"
        return (
            f"What is negative was cut off at {uses}. The method was made for ReLU; {like}, and the rule is carried over: "
            "read this map with more caution than one of a ReLU network."
        )


def rectified_gradient(model: LoadedModel, pixels: torch.Tensor, target: int | None, rule: Literal["guided", "deconvolution"]) -> Rectified:
    """The gradient of the target's logit (the predicted class's where it is None) at one picture, by one of the two rules.

    Raises IncompatibleModel where the network calls no rectifier on the way.
    """
    met: Counter = Counter()

    def answer(name, function, arguments, _again):
        if not rectifies(name, function, arguments):
            return function(*arguments)
        met[RECTIFIERS[name]] += 1
        given, output, in_place = in_its_place(function, arguments)
        if rule == "deconvolution":
            output = output.detach() + (given - given.detach())  # the same value; on the way back, as if it had done nothing
        else:
            given.register_hook(torch.relu)
        output.register_hook(torch.relu)
        return in_place(output)

    leaf = pixels.detach().clone().requires_grad_(True)
    with torch.enable_grad(), intercepting(answer):
        logits = model.logits(leaf)
    if not met:
        raise IncompatibleModel(f"This network calls no rectifier on its way from the picture to its answer: {WITHOUT}")
    target = int(model.predicted(logits[0])) if target is None else target
    return Rectified(gradient_at(logits[0, target], leaf), target, met)


def no_rectifier(model: LoadedModel) -> str | None:
    """Why the rules have nothing to act on in this model, or None where it has a rectifier, or may call one as a function."""
    for module in model.network.modules():
        home = type(module).__module__
        if not home.startswith("torch.nn.modules.") or home.endswith((".activation", ".transformer")):
            return None
    return WITHOUT


def rectifies(name: str, function: Callable, arguments: tuple) -> bool:
    """Whether a call of a torch function rectifies a tensor that a gradient flows through."""
    known = name in RECTIFIERS and bool(arguments) and depends(arguments[0])
    return known and (name not in LIMITED or _cuts_at_zero(function, arguments))


def _cuts_at_zero(function, arguments: tuple) -> bool:
    """Whether a clamp or threshold answers a negative number with zero and a small positive one with itself."""
    tried = torch.tensor([-1.0, 0.5])
    try:
        return torch.equal(function(tried.clone(), *arguments[1:]), torch.tensor([0.0, 0.5]))
    except RuntimeError:  # limits that are tensors of the picture's shape
        return False
