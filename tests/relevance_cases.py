"""Networks and second implementations that the tests of relevance share."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from model_zoo.loaded import LoadedModel, wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample


def sample_for(model: LoadedModel, seed: int = 0) -> Sample:
    shape = (model.preprocessing.channels, *model.preprocessing.size)
    return Sample.from_pixels(torch.rand(shape, generator=torch.Generator().manual_seed(seed)), "noise")


def model_of(network: nn.Module, size: int, channels: int = 3) -> LoadedModel:
    """Pixels reach the network with a mean of 0.4 and a deviation of 0.25 taken off, so that it sees both signs."""
    return wrap(network, key="network", preprocessing=Preprocessing(channels, (size, size), (0.4,) * channels, (0.25,) * channels))


def plain() -> LoadedModel:
    """Convolutions, one with a batch norm after it, ReLU, both kinds of pooling, two dense layers; 3 x 32 x 32, 5 classes."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 20), nn.ReLU(), nn.Linear(20, 5),
    )  # fmt: skip
    return model_of(with_statistics(network), 32)


@torch.no_grad()
def with_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that have seen something: means, variances, and scales of both signs."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(-0.5, 1.5)
            module.bias.normal_(0, 0.2)
    return network


def tiny(biases: float = 0.3) -> LoadedModel:
    """A convolution and two dense layers on 1 x 6 x 6 pixels, 3 classes; biases have at most this size, all below zero when it is negative."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        for module in network:
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.bias.uniform_(*((biases, 0) if biases < 0 else (-biases, biases)))
    return model_of(network, 6, channels=1)


class Plain(NamedTuple):
    """A linear layer in plain numbers: what went in `[I]`, `weights[j][i]`, biases `[J]`."""

    inputs: list[float]
    weights: list[list[float]]
    biases: list[float]


def in_plain_numbers(model: LoadedModel, pixels: torch.Tensor) -> list[Plain]:
    """The linear layers of `tiny`, first to last; the weights of the convolution are found by asking it about one pixel at a time."""
    layers, values = [], ((pixels - 0.4) / 0.25).double()
    for module in copy.deepcopy(model.network).double():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            biases = module(torch.zeros_like(values)).flatten()
            columns = [module(unit.view_as(values)).flatten() - biases for unit in torch.eye(values.numel(), dtype=torch.float64)]
            layers.append(Plain(values.flatten().tolist(), torch.stack(columns, 1).tolist(), biases.tolist()))
        values = module(values)
    return layers


def handed_back(layers: list[Plain], target: int, share: Callable, first: Callable | None = None) -> list[float]:
    """The textbook way: R_i = sum over j of share(i, j) R_j from the last layer to the first, one connection at a time.

    `share(layer, j)` answers with the shares of all inputs of unit j; `first` does so for the first layer.
    """
    last = layers[-1]
    logits = [sum(a * w for a, w in zip(last.inputs, row)) + b for row, b in zip(last.weights, last.biases)]
    relevance = [logit if j == target else 0.0 for j, logit in enumerate(logits)]
    for number, layer in reversed(list(enumerate(layers))):
        rule = first if number == 0 and first else share
        shares = [rule(layer, j) for j in range(len(relevance))]
        relevance = [sum(shares[j][i] * relevance[j] for j in range(len(relevance))) for i in range(len(layer.inputs))]
    return relevance


def box_shares(layer: Plain, unit: int) -> list[float]:
    """The z-B rule: (x w - l w+ - h w-), where black l and white h are what the network sees of 0 and 1."""
    low, high = (0 - 0.4) / 0.25, (1 - 0.4) / 0.25
    parts = [x * w - low * max(w, 0) - high * min(w, 0) for x, w in zip(layer.inputs, layer.weights[unit])]
    return [part / sum(parts) if sum(parts) else 0.0 for part in parts]
