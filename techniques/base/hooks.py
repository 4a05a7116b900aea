"""Reading a network from inside; every hook is gone when its block ends, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel

if TYPE_CHECKING:
    from model_zoo.layers import Layer
    from model_zoo.loaded import LoadedModel


@contextmanager
def watching(model: LoadedModel, layers: Iterable[str], see: Callable[[str, torch.Tensor], torch.Tensor | None]) -> Iterator[None]:
    """Call `see(layer name, output)` after each of the layers; a tensor it returns takes the output's place."""
    handles = []
    try:
        for name in layers:
            handles.append(model.module(name).register_forward_hook(lambda _module, _inputs, output, name=name: see(name, output)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def gradient_at(score: torch.Tensor, place: torch.Tensor, again: bool = False) -> torch.Tensor:
    """Gradient of one number at a tensor, in its shape; zero where the number does not depend on it.

    `again` keeps the graph for another number. A network that cuts its own graph (rounding, no_grad) gives zero, too.
    """
    return gradients_at(score, [place], again)[0]


def gradients_at(score: torch.Tensor, places: Sequence[torch.Tensor], again: bool = False) -> list[torch.Tensor]:
    """The same at several tensors, from one way back through the network."""
    if not score.requires_grad:
        return [torch.zeros_like(place) for place in places]
    gradients = torch.autograd.grad(score, places, retain_graph=again, allow_unused=True)
    return [torch.zeros_like(place) if gradient is None else gradient for place, gradient in zip(places, gradients)]


_passes: ContextVar[list | None] = ContextVar("passes that several techniques share", default=None)


@contextmanager
def sharing_passes() -> Iterator[None]:
    """Inside, `logits_from_layer` answers equal questions with one pass; whoever takes a gradient there keeps the graph."""
    token = _passes.set([])
    try:
        yield
    finally:
        _passes.reset(token)


def logits_from_layer(model: LoadedModel, layer: str, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One forward pass in which the output of `layer` is the leaf: (logits `[B, K]`, that output).

    Nothing before the layer builds a graph, so a gradient of the logits costs only what follows the layer.
    """
    known = _passes.get()
    for network, name, asked, answer in known or ():
        if network is model.network and name == layer and torch.equal(asked, pixels):
            return answer
    answer = _pass_from_layer(model, layer, pixels)
    if known is not None:
        known.append((model.network, layer, pixels, answer))
    return answer


def _pass_from_layer(model: LoadedModel, layer: str, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    outputs: list[torch.Tensor] = []

    def make_leaf(_name: str, output: torch.Tensor) -> torch.Tensor:
        outputs.append(output.detach().requires_grad_(True))
        return outputs[-1].clone()  # what follows may add to it in place, as residual blocks do

    with torch.enable_grad(), watching(model, [layer], make_leaf):
        logits = model.logits(pixels)
    return logits, outputs[-1]


def logits_from_layers(model: LoadedModel, layers: Iterable[str], pixels: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One forward pass with a graph from the first of the `layers` on: (logits `[B, K]`, each layer's output by its name)."""
    outputs: dict[str, torch.Tensor] = {}

    def keep(name: str, output: torch.Tensor) -> torch.Tensor:
        outputs[name] = output if output.requires_grad else output.detach().requires_grad_(True)
        return outputs[name].clone()  # what follows may add to it in place

    with torch.enable_grad(), watching(model, layers, keep):
        logits = model.logits(pixels)
    return logits, outputs


class _Reached(Exception):
    """Ends a forward pass, with what was wanted of it."""


def output_of(model: LoadedModel, layer: Layer, pixels: torch.Tensor) -> torch.Tensor:
    """What the layer puts out at its last use, for pictures `[B, C, H, W]`; nothing after it is computed."""
    return _reach(model, layer, pixels, lambda module, see: module.register_forward_hook(lambda _module, _inputs, output: see(output)))


def input_of(model: LoadedModel, layer: Layer, pixels: torch.Tensor) -> torch.Tensor:
    """What the layer is given at its last use; neither it nor anything after it is computed."""
    return _reach(model, layer, pixels, lambda module, see: module.register_forward_pre_hook(lambda _module, inputs: see(inputs[0])))


def _reach(model: LoadedModel, layer: Layer, pixels: torch.Tensor, watch: Callable) -> torch.Tensor:
    """The tensor that is seen at the last use of a layer, where the pass ends."""
    uses = 0

    def see(tensor: torch.Tensor) -> None:
        nonlocal uses
        uses += 1
        if uses == layer.calls:
            raise _Reached(tensor)

    handle = watch(model.module(layer.name), see)
    try:
        model.logits(pixels)
    except _Reached as reached:
        return reached.args[0]
    finally:
        handle.remove()
    raise IncompatibleModel(f"{model.title} does not use the layer “{layer.name}” for this picture.")


def logits_with(model: LoadedModel, layer: Layer, pixels: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Logits `[B, K]` of `pixels` without a gradient when `change(output)` takes the place of what the layer puts out at its last use."""
    uses = 0

    def see(_name: str, output: torch.Tensor) -> torch.Tensor | None:
        nonlocal uses
        uses += 1
        return change(output) if uses == layer.calls else None

    with torch.no_grad(), watching(model, [layer.name], see):
        return model.logits(pixels)


def logits_and(model: LoadedModel, layer: Layer, pixels: torch.Tensor, given: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """One pass without a gradient: the logits `[B, K]`, and what the layer is `given`, else what it puts out, at its last use."""
    seen: list[torch.Tensor] = []
    module = model.module(layer.name)
    if given:
        handle = module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    else:
        handle = module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        logits = model.valid_logits(pixels)
    finally:
        handle.remove()
    return logits, seen[-1]
