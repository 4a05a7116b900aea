"""What a technique costs, counted and not timed: passes through the network, and the most memory its tensors took at one time.

Passes are counted at every convolution and linear layer by their multiplications, forward and backward: a technique that runs
only what follows a layer is charged for that part. Layers that do not answer with whole pictures (inside of attention windows)
are not counted, neither here nor in the whole.

Memory is counted by storages: every tensor that an operation puts out is added until nobody holds it any more. What an
operation needs inside of itself, and what an allocator keeps for later, is not seen; so the number is the same on every
machine, and less than what a monitor shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from model_zoo.deferred import torch
from techniques.base.hooks import watching

if TYPE_CHECKING:
    from model_zoo.layers import Layer
    from model_zoo.loaded import LoadedModel


class Cost(NamedTuple):
    """Forward and backward passes for one picture, a part of the network as its part; and bytes."""

    forward: float
    backward: float
    bytes: int


def cost_of(work: Callable[[], Any], model: LoadedModel) -> Cost:
    """Do some work with this model and say what it cost; raises what the work raises."""
    layers = {layer.name: layer for layer in model.layers if layer.weighted}
    each = {name: _multiplications(model, layer) for name, layer in layers.items()}
    whole = sum(each[name] * layer.calls for name, layer in layers.items()) or 1
    passes = {"forward": 0.0, "backward": 0.0}

    def count(way: str, name: str, tensor: torch.Tensor) -> None:
        passes[way] += each[name] / whole * tensor.numel() / math.prod(layers[name].shape)

    def see(name: str, output: torch.Tensor) -> None:
        count("forward", name, output)
        if output.requires_grad:
            output.register_hook(lambda gradient: count("backward", name, gradient))

    with watching(model, layers, see), _storages() as most:
        work()
    return Cost(passes["forward"], passes["backward"], most())


def _multiplications(model: LoadedModel, layer: Layer) -> int:
    """Of one use of a layer for one picture."""
    return math.prod(layer.shape) // layer.channels * model.module(layer.name).weight.numel()


@contextmanager
def _storages() -> Iterator[Callable[[], int]]:
    """Watch all tensors that are made in this thread; gives a function that says how many bytes were alive at most."""
    from torch.multiprocessing.reductions import StorageWeakRef
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.alive: dict[int, tuple[Any, int]] = {}
            self.most = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            given = {_place(tensor) for tensor in _tensors((args, kwargs))}
            made = function(*args, **kwargs)
            for tensor in _tensors(made):
                if _place(tensor) not in given:
                    storage = tensor.untyped_storage()
                    self.alive[_place(tensor)] = StorageWeakRef(storage), storage.nbytes()
            self.alive = {place: held for place, held in self.alive.items() if not held[0].expired()}
            self.most = max(self.most, sum(size for _, size in self.alive.values()))
            return made

    with Watch() as watch:
        yield lambda: watch.most


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a nest of tuples, lists and mappings."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
