"""Every call of a torch function while a network runs, wherever it stands: to see it, or to answer it in another way.

Hooks on modules miss operators and activations that are called as functions, and fire once too often where a module is
used twice. A mode of torch sees each call itself. It belongs to the thread that entered it, and is gone when its block
ends, however it ends; the network is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
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


@contextmanager
def intercepting(answer: Callable[[str, Callable, tuple, Callable], Any]) -> Iterator[None]:
    """Have every call of a torch function answered by `answer(name, function, arguments, again)`.

    `name` is what the function is called, without the underscores of its in-place and operator forms (`relu_`, `__mul__`).
    `function` takes the arguments by position; named ones it carries already. Calls that `answer` makes are not
    intercepted; those inside `again(other, *arguments)` are.
    """

    def again(other, *arguments, **named):
        with mode:
            return other(*arguments, **named)

    def call(function, arguments, named):
        name = getattr(function, "__name__", "").strip("_")
        return answer(name, partial(function, **named) if named else function, arguments, again)

    mode = calling(call)
    with mode:
        yield


def first_input(model: LoadedModel, image: torch.Tensor) -> torch.Tensor | None:
    """What the first linear layer receives for an image `[B, C, H, W]`, with its graph; None when there is no such layer."""

    class Reached(Exception):
        """Ends the pass there."""

    def call(function, args, kwargs):
        if function.__name__ in LINEAR and depends(kwargs.get("input", args and args[0])):
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


def depends(value: Any) -> bool:
    """Whether it is a tensor that a gradient flows through: one that the picture has an influence on."""
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


def in_its_place(function: Callable, arguments: tuple) -> tuple[torch.Tensor, torch.Tensor, Callable]:
    """Call a function on a copy of its first argument: (that copy, the answer, how another answer takes its place).

    The copy stays as it is, and the answer is another tensor, also where the function overwrites what it is given. There
    the last of the three writes into the first argument itself, as the caller expects; it returns what the caller sees.
    """
    given, *others = arguments
    copied = given.clone()
    output = function(copied, *others)
    if output is not copied:
        return copied, output, lambda other: other
    copied = given.clone()
    return copied, function(copied.clone(), *others), given.copy_
