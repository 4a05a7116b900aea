"""A way back through rectifiers that are all closed: where no gradient of a picture would pass one, what would open it does.

A channel that answers zero everywhere has no gradient, and nothing could be climbed. As in lucid, the program of Olah,
Mordvintsev and Schubert 2017, doi:10.23915/distill.00007 (there called a redirected gradient); there at each of the first steps,
here only for pictures whose gradient is zero.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from model_zoo.deferred import torch
from techniques.base.calls import in_its_place, intercepting
from techniques.base.rectifiers import RECTIFIERS, TRUE, rectifies


def redirecting() -> AbstractContextManager[None]:
    """Inside, a gradient that every place of a picture's rectifier would stop goes on where it would raise what is below zero."""

    def answer(name, function, arguments, _again):
        if not rectifies(name, function, arguments) or RECTIFIERS[name] not in TRUE:
            return function(*arguments)
        given, output, in_place = in_its_place(function, arguments)
        arrived: list[torch.Tensor] = []
        output.register_hook(arrived.append)
        given.register_hook(lambda passed: _redirected(passed, arrived.pop()))
        return in_place(output)

    return intercepting(answer)


def _redirected(passed: torch.Tensor, arrived: torch.Tensor) -> torch.Tensor:
    """The gradient `[B, ...]` that passed, or for a picture of which none did what is positive of the one that arrived."""
    stopped = ~passed.flatten(1).any(1).view(-1, *[1] * (passed.ndim - 1))
    return torch.where(stopped, arrived.relu(), passed)
