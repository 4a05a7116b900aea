"""Copies of a network that a heat map has to tell apart from it, or must not.

Scrambled from the head down: Adebayo et al. 2018, arXiv:1810.03292, section 3.1 ("cascading randomization"). Departures: they
initialise layers anew; here each weight keeps its layer's own numbers, put at other places, which needs no rule for how a
layer was initialised and keeps the size of what it puts out. A batch norm gets, for all of its channels, the mean of what
it has kept of them, as the channels before it are alike now. And layers are scrambled in a few stages, not one by one.

With another zero point: Kindermans et al. 2017, arXiv:1711.00867, section 2: a constant is added to the input, and the
first bias takes it away again, so that both networks give the same answers. Here that bias is the one of the normalisation
(pixels - mean) / std, which is the first linear layer of every model: it works for all of them, and right up to the border
of the picture, where a convolution's own bias cannot make up for the zeros it pads with.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel


class Stage(NamedTuple):
    """A network scrambled down to the layer `name`: `count` of its `of` layers with weights, from the head."""

    name: str
    count: int
    of: int
    model: LoadedModel


def scrambled(model: LoadedModel, pixels: torch.Tensor, stages: int, seed: int) -> Iterator[Stage]:
    """The head alone, then as many layers more each time, until all are scrambled after at most `stages` stages.

    It is one copy, taken once, that is scrambled further at each step; the model itself is not touched. `pixels` are those
    of any picture: they show in which order the layers are used.
    """
    other = replace(model, network=copy.deepcopy(model.network))
    names = _from_the_head(other, pixels)
    generator = torch.Generator().manual_seed(seed)
    ends = sorted({1 + round((len(names) - 1) * stage / max(1, stages - 1)) for stage in range(stages)})
    done = 0
    for end in ends:
        for name in names[done:end]:
            _scramble(other.network.get_submodule(name), generator)
        done = end
        yield Stage(names[end - 1] or "the whole network", end, len(names), other)


def shifted(model: LoadedModel, amount: float) -> LoadedModel:
    """The same network for pixels that are larger by `amount`: for them it gives the logits that the model gives for the others."""
    preprocessing = model.preprocessing
    return replace(model, preprocessing=replace(preprocessing, mean=tuple(mean + amount for mean in preprocessing.mean)))


def _from_the_head(model: LoadedModel, pixels: torch.Tensor) -> list[str]:
    """Names of all modules that have parameters of their own, those used last first.

    One that is not called itself (the last part of torch's attention) counts as used with what it lies in.
    """
    turn: dict[str, int] = {}

    def note(name: str):
        def hook(_module, _inputs) -> None:
            turn.setdefault(name, len(turn))

        return hook

    modules = dict(model.network.named_modules())
    handles = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    with torch.no_grad():
        model.logits(pixels)
    for handle in handles:
        handle.remove()
    own = [name for name, module in modules.items() if any(True for _ in module.parameters(recurse=False))]
    used = {name: next(turn[above] for above in _upwards(name) if above in turn) for name in own}
    return sorted(own, key=lambda name: -used[name])


def _upwards(name: str) -> Iterator[str]:
    """The name of a module, then those of the modules it lies in."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


def _scramble(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Put the numbers of each of the module's own parameters at other places, and even out what a batch norm has kept."""
    for parameter in module.parameters(recurse=False):
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.data = parameter.data.flatten()[order].view_as(parameter)
    for kept in (getattr(module, "running_mean", None), getattr(module, "running_var", None)):
        if kept is not None:
            kept.fill_(float(kept.mean()))
