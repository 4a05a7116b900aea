"""Every call of a torch function, while a network runs: to see it, or to answer it in another way.

This reaches what hooks on modules cannot: operators, functional activations, and a module's parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from model_zoo.deferred import torch

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

LINEAR = ("conv1d", "conv2d", "conv3d", "linear")


def calling(call: Callable[[Callable, tuple, dict], Any]) -> torch.overrides.TorchFunctionMode:
    """A context in which each torch function that this thread calls is answered by `call(function, args, kwargs)`; what `call`
    does itself is not seen again."""

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, _types, args=(), kwargs=None):
            return call(function, args, kwargs or {})

    return Mode()


def first_input(model: LoadedModel, image: torch.Tensor) -> torch.Tensor | None:
    """What the first linear layer receives for an image `[B, C, H, W]`, with its graph; None when there is no such layer."""

    class Reached(Exception):
        """Ends the pass there."""

    def call(function, args, kwargs):
        if function.__name__ in LINEAR and moves(kwargs.get("input", args and args[0])):
            raise Reached(kwargs.get("input", args and args[0]))
        return function(*args, **kwargs)

    try:
        with calling(call):
            model.logits(image)
    except Reached as reached:
        return reached.args[0]
    return None


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in nested lists, tuples and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(item)


def moves(value: Any) -> bool:
    """Whether it is a tensor that depends on the picture."""
    return isinstance(value, torch.Tensor) and value.requires_grad


def is_constant(value: Any) -> bool:
    """Whether it is a number, or a tensor of some, that does not depend on the picture."""
    return isinstance(value, (int, float)) or isinstance(value, torch.Tensor) and value.is_floating_point() and not value.requires_grad


def different_numbers(tensor: torch.Tensor) -> int:
    """How many numbers it holds, a stretched one no more than before."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride()):
        count *= size if stride else 1
    return count
