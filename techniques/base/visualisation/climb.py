"""The climb: a picture, or many at once, changed step by step until a class, a channel or a layer answers as strongly as it can.

Gradient ascent on the picture: Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, section 2 (with the L2 term, equation 1);
a blur every few steps: Yosinski et al. 2015, arXiv:1506.06579, section 3; total variation: Mahendran and Vedaldi 2015,
arXiv:1412.0035, equation 4; what the picture is made of, and from which views it is seen: Olah, Mordvintsev and Schubert
2017, doi:10.23915/distill.00007. Steps are those of Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1), as there.

Departure: the gradient at the pixels is brought to the length of one per pixel for each picture, before the penalties are taken
from it. So their weights mean the same for a logit and for a channel of any layer: an L2 of 1 holds a picture at a contrast of
about a quarter of the range, a total variation of 1 pulls a pixel to each neighbour as hard as it is pushed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base.batches import batch_size_with_graph
from techniques.base.run import Run
from techniques.base.visualisation.aims import Aim
from techniques.base.visualisation.dead import redirecting
from techniques.base.visualisation.images import Images
from techniques.base.visualisation.views import Views, blurred

BLUR = 1.0  # pixels
QUARTER = 0.25  # root mean square contrast at which an L2 of 1 is as strong as the gradient


@dataclass(frozen=True)
class Climb:
    """How it is done. `jitter` and `scale` are in percent of the size, `rotation` in degrees, both ways; `blur_every` in steps, 0 for never."""

    steps: int = 64
    learning_rate: float = 0.1
    l2: float = 0.05
    total_variation: float = 0.03
    blur_every: int = 0
    jitter: float = 5.0
    rotation: float = 10.0
    scale: float = 20.0
    fourier: bool = True
    decorrelated: bool = True


class Climbed(NamedTuple):
    """Pictures `[N, C, H, W]` in `[0, 1]`; what they reach and what the start reached, `[N]`, each in a view of its own without a
    transformation; what was reached at each step, `[steps, N]`, in the view of that step; and whether there ever was a gradient, bool `[N]`."""

    pictures: torch.Tensor
    reached: torch.Tensor
    started: torch.Tensor
    path: torch.Tensor
    moved: torch.Tensor


def maximise(
    model: LoadedModel,
    aim: Aim,
    climb: Climb,
    run: Run,
    *,
    seed: int = 0,
    start: torch.Tensor | None = None,
    size: tuple[int, int] | None = None,
    see: Callable[[int, torch.Tensor, torch.Tensor], None] | None = None,
) -> Climbed:
    """Climb from faint noise, or from the pictures `start` `[1 or N, C, H, W]`; `size` is the model's own where it is None.

    `see(step, pictures, values)` is called at each step with the pictures that it begins with, and at the end. All pictures begin
    with the same noise and are seen in the same views: what becomes of one does not depend on the others. Raises
    ParameterError for a size at which the network does not get as far as the layer.
    """
    size = size or (tuple(start.shape[2:]) if start is not None else model.preprocessing.size)
    images = Images(model.preprocessing.channels, size, climb.fourier, climb.decorrelated, model.device)
    views, generator = Views(climb.jitter, climb.rotation, climb.scale), torch.Generator().manual_seed(seed)
    numbers = images.start(generator) if start is None else images.numbers(start.to(model.device))
    numbers = numbers.expand(len(aim), *numbers.shape[1:]).clone()
    _check_size(model, aim, size)
    per_pass = batch_size_with_graph(model, aim.layer, size)
    parts = [slice(first, first + per_pass) for first in range(0, len(aim), per_pass)]
    adam = Adam(climb.learning_rate)
    started = _values(model, aim, images.pictures(numbers), parts, run)
    path, moved = [], torch.zeros(len(aim), dtype=torch.bool, device=model.device)
    for step in run.steps(climb.steps, "Step"):
        drawn = views.draw(generator)
        found = [_push(model, aim, climb, images, numbers[part], lambda pictures: views.seen(pictures, drawn), part, run) for part in parts]
        pictures, values, gradient, pushed = (torch.cat(each) for each in zip(*found))
        path.append(values)
        moved |= pushed
        if see:
            see(step, pictures, values)
        numbers = adam.step(numbers, gradient)
        if climb.blur_every and (step + 1) % climb.blur_every == 0:
            numbers = images.numbers(blurred(images.pictures(numbers), BLUR))
    pictures = images.pictures(numbers)
    reached = _values(model, aim, pictures, parts, run)
    if see:
        see(climb.steps, pictures, reached)
    return Climbed(pictures, reached, started, torch.stack(path), moved)


class Adam:
    """Steps uphill of about the learning rate in every number, by Kingma and Ba's algorithm 1."""

    def __init__(self, learning_rate: float):
        self.learning_rate, self.time = learning_rate, 0
        self.mean = self.square = 0.0

    def step(self, numbers: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        self.time += 1
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient.square()
        mean, square = self.mean / (1 - 0.9**self.time), self.square / (1 - 0.999**self.time)
        return numbers + self.learning_rate * mean / (square.sqrt() + 1e-8)


def _push(
    model: LoadedModel, aim: Aim, climb: Climb, images: Images, numbers: torch.Tensor, view: Callable, part: slice, run: Run
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The pictures `[n, C, H, W]` that the numbers show, the values `[n]` that are climbed, the gradient at the numbers, and whether
    what is climbed had one, bool `[n]`."""
    run.check()
    leaf = numbers.detach().requires_grad_(True)
    with torch.enable_grad():
        shown = images.pictures(leaf)
        values, push = _gradient(model, aim, shown.detach(), view, part)
        closed = ~push.flatten(1).any(1)
        if closed.any():
            run.check()
            with redirecting():
                push[closed] = _gradient(model, aim, shown.detach()[closed], view, torch.arange(len(aim))[part][closed.cpu()])[1]
        pushed = push.flatten(1).any(1)
        push = push / push.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=torch.finfo(push.dtype).tiny)
        push = push - _penalty(shown.detach(), climb)
        (gradient,) = torch.autograd.grad(shown, leaf, push)
    return shown.detach(), values, gradient, pushed


def _gradient(model: LoadedModel, aim: Aim, pictures: torch.Tensor, view: Callable, part: slice | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values `[n]` in this view, and their gradient at the pictures `[n, C, H, W]`; zero where they do not depend on them."""
    pictures = pictures.requires_grad_(True)
    values = aim.values(model, view(pictures), part)
    if not values.requires_grad:
        return values, torch.zeros_like(pictures)
    return values.detach(), torch.autograd.grad(values.sum(), pictures)[0]


def _penalty(pictures: torch.Tensor, climb: Climb) -> torch.Tensor:
    """The gradient `[n, C, H, W]` of what is taken off: distance from mid grey, and differences between neighbours."""
    penalty = climb.l2 * (pictures - 0.5) / QUARTER
    if climb.total_variation:
        for axis in (2, 3):
            sign = climb.total_variation * pictures.diff(dim=axis).sign()
            none = torch.zeros_like(pictures.narrow(axis, 0, 1))
            penalty = penalty + torch.cat([none, sign], axis) - torch.cat([sign, none], axis)
    return penalty


def _values(model: LoadedModel, aim: Aim, pictures: torch.Tensor, parts: list[slice], run: Run) -> torch.Tensor:
    """What pictures `[N, C, H, W]` reach as they are, `[N]`."""
    found = []
    for part in parts:
        run.check()
        with torch.no_grad():
            found.append(aim.values(model, pictures[part], part))
    return torch.cat(found)


def _check_size(model: LoadedModel, aim: Aim, size: tuple[int, int]) -> None:
    """Whether a picture that is not of the model's own size comes as far as it has to."""
    if size == model.preprocessing.size:
        return
    try:
        with torch.no_grad():
            aim.values(model, torch.full((1, model.preprocessing.channels, *size), 0.5, device=model.device), slice(0, 1))
    except Exception as error:  # whatever a network of somebody else's raises
        own, where = model.preprocessing.size, f"its layer “{aim.layer.name}”" if aim.layer else "its classes"
        raise ParameterError(
            f"{model.title} does not come as far as {where} with a picture of {size[0]} × {size[1]} px. "
            f"Choose another size, or 0 for its own, {own[0]} × {own[1]}."
        ) from error
