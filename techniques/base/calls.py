"""Every call of a torch function while a network runs, wherever it stands: in a module, in a function, in place, used twice.

Hooks on modules miss an activation that is called as a function, and fire once too often where a module is used twice. A
mode of torch sees each call itself. It belongs to the thread that entered it, and is gone when its block ends, however it
ends; the network is not touched.

Batch norm's way back is mended on the way: in eval mode, on a CPU, torch 2.15 gives wrong gradients for a single
picture where the gradient that comes in has its channels last in memory and an odd stride for the batch, as behind a
reshape of patches to maps. A gradient that is contiguous goes back rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from model_zoo.deferred import torch


@contextmanager
def intercepting(answer: Callable[[str, Callable, tuple, Callable], Any]) -> Iterator[None]:
    """Have every call of a torch function answered by `answer(name, function, arguments, again)`.

    `name` is what the function is called, without the underscores of its in-place and operator forms (`relu_`, `__mul__`).
    `function` takes the arguments by position; named ones it carries already. Calls that `answer` makes are not
    intercepted; those inside `again(other, *arguments)` are.
    """

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), named=None):
            name = getattr(function, "__name__", "").strip("_")
            output = answer(name, partial(function, **named) if named else function, arguments, self.again)
            if name == "batch_norm" and depends(output):
                output.register_hook(torch.Tensor.contiguous)  # see the module's docstring
            return output

        def again(self, other, *arguments, **named):
            with self:
                return other(*arguments, **named)

    with Mode():
        yield


def rightly() -> AbstractContextManager[None]:
    """Every call as it is, but for the way back through batch norms."""
    return intercepting(lambda _name, function, arguments, _again: function(*arguments))


def depends(value: Any) -> bool:
    """Whether it is a tensor that a gradient flows through: one that the picture has an influence on."""
    return isinstance(value, torch.Tensor) and value.requires_grad


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
