"""The rules by which an operation divides the relevance of its output among what was added up to it.

Bach et al. 2015, doi:10.1371/journal.pone.0130140 (epsilon and alpha-beta); Montavon et al. 2017, arXiv:1512.02479 (z+, box and
squared weights); Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview", section 10.2 (gamma), here in the form
for outputs of both signs that zennit has, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from model_zoo.deferred import torch

GAMMA = 0.25  # Montavon et al. 2019, section 10.3

Rule = Literal["epsilon", "gamma", "z-plus", "alpha2-beta1", "same sign"]
First = Literal["box", "flat", "squared weights", "as the others"]


@dataclass(frozen=True)
class Rules:
    """Which rule in which place.

    `places` is for linear layers that work at many places of the picture (convolutions, dense layers on every token) and for
    batch norms that follow none; `dense` for linear layers that see all of it at once; `sums` for additions and means.
    `first` is for the linear layer that sees the pixels: "box" divides by the distance from black and white (z-B), "flat"
    among all pixels in reach alike, "squared weights" by these.

    `epsilon` is in percent of the root mean square of what a layer puts out. Without `biases` they take no share. With
    `one_sign`, an operation in which relevance may change its sign is refused.
    """

    places: Rule = "epsilon"
    dense: Rule = "epsilon"
    first: First = "as the others"
    sums: Rule = "epsilon"
    epsilon: float = 0.0
    biases: bool = True
    one_sign: bool = False


def factors(rule: Rule, output: torch.Tensor, above: torch.Tensor, below: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """By what the gradients of the positive and of the negative contributions to `output` are multiplied, when `above` and
    `below` are their sums, biases included, and relevance is held as a multiple of the activation."""
    rising = output > 0
    if rule == "gamma":  # contributions of the output's own sign count more
        share = ratio(output, output + GAMMA * torch.where(rising, above, below))
        return share * (1 + GAMMA * rising), share * (1 + GAMMA * ~rising)
    if rule == "z-plus":
        return ratio(output, above), torch.zeros_like(output)
    if rule == "same sign":
        return ratio(output, above) * rising, ratio(output, below) * ~rising
    if rule == "alpha2-beta1":  # where all contributions have one sign, they are divided as they are
        mixed = ((above > 0) & (below < 0)).to(output)
        return ratio(output, above) * (1 + mixed), ratio(output, below) * (1 - 2 * mixed)
    raise ValueError(f"The rule “{rule}” does not tell positive from negative contributions.")


def stabiliser(output: torch.Tensor, epsilon: float) -> torch.Tensor:
    """The factor z / (z + epsilon sign(z)) of the epsilon rule, `epsilon` in percent of the root mean square of `output`."""
    size = output.abs()
    return ratio(size, size + epsilon / 100 * size.square().mean().sqrt())


def first_contributions(first: First, layer, ends: list[torch.Tensor]) -> torch.Tensor:
    """What the pixels contribute to the first linear layer by its own rule; `ends` are what it receives for black and for white,
    or for a picture that is 1 everywhere."""
    if first == "box":
        black, white = ends
        from_black, from_white = layer.apply(black, layer.weight.clamp(min=0)), layer.apply(white, layer.weight.clamp(max=0))
        return layer.apply(layer.input, layer.weight) - from_black - from_white
    return layer.apply(ends[0], torch.ones_like(layer.weight) if first == "flat" else layer.weight.square())


def ratio(numbers: torch.Tensor, divisors: torch.Tensor) -> torch.Tensor:
    """One divided by the other, and 0 where that is no number."""
    none = divisors == 0
    return torch.where(none, torch.zeros_like(numbers), numbers / torch.where(none, torch.ones_like(divisors), divisors))
