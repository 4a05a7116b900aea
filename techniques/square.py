"""A network fooled by guessing: squares of colour are tried at random places, and each that brings the answer nearer to a mistake is
kept. No gradient is needed, only the numbers that the network answers with.

Square Attack: Andriushchenko, Croce, Flammarion and Hein 2020, arXiv:1912.00049, algorithm 1 with algorithm 2 (linf: start from
vertical stripes; in a square the change becomes plus or minus epsilon, one sign per channel) or 3 (l2: start from a grid of bumps; what
is changed in one window goes into a bump in another). The squares' share of the picture is halved after 10, 50, 200, 1000, 2000, 4000,
6000 and 8000 of 10,000 queries (section 5), scaled to the queries there are. As in the authors' code, a square that would change nothing
is not asked about, and l2 windows are odd and at least 3 pixels wide. Departures: a chosen target is aimed at by the margin, too, unless
cross-entropy is asked for (theirs there); windows reach the lower and the right border (in the code they never do); the pictures of a
batch have windows of their own. torchattacks' (3.3.0) succeeds as often, but cannot be watched, stopped, or shown on the way; ART's
(1.20.1) asks the network three times about each square.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from techniques.base import Epsilon, Help, Range, torch
from techniques.base.attacks import Ball, Iterate, Loss, Norm, Queries, Task, attack

HALVINGS = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries
SHOWN = 25  # iterates of a whole run
Share = Annotated[float, Range(0.01, 1, 0.01, "of the picture"), Help("The share of the picture that the first squares cover; later ones are smaller.")]


@attack(
    title="Square",
    paper="arXiv:1912.00049",
    order=62,
    knowledge="scores",
    limits="It ends at the first success, at full epsilon: a smaller change may do, too. Its squares are plain to see; that no gradient "
    "was needed says that hiding the gradient is no defence.",
)
def square(
    task: Task, *, epsilon: Epsilon = 8.0, norm: Norm = "linf", queries: Queries = 500, share: Share = 0.3, loss: Loss = "margin"
) -> Iterator[Iterate]:
    """At most `queries` forward passes per picture, one after the other."""
    ball = Ball(task.pixels, epsilon, norm)
    start, change = (_stripes, _squared) if norm == "linf" else (_bumps, _moved)
    pixels = torch.stack([start(ball, picture, task.generator) for picture in task.pixels])
    best = Iterate(pixels, task.logits(pixels))
    for step in task.steps(range(1, queries)):
        live = (~task.goal.reached(best.logits)).nonzero().flatten()
        if step % max(1, queries // SHOWN) == 1 or not len(live):
            yield best
        if not len(live):
            return
        side = _side(share, step / queries, task.pixels)
        tried = torch.stack([change(ball, task.pixels[i], best.pixels[i], side, task.generator) for i in live])
        best = task.better(best, Iterate(best.pixels.index_copy(0, live, tried), best.logits.index_copy(0, live, task.logits(tried))))
    yield best


def _side(share: float, done: float, pixels: torch.Tensor) -> int:
    """The side of the windows in pixels once this part of the queries is `done`."""
    height, width = pixels.shape[2:]
    share /= 2 ** sum(10_000 * done > halving for halving in HALVINGS)
    return min(max(1, round(math.sqrt(share * height * width))), height, width)


# linf: [C, H, W] each


def _stripes(ball: Ball, picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Columns of plus or minus epsilon."""
    return (picture + ball.radius * _signs(picture[:, :1], generator)).clamp(0, 1)


def _squared(ball: Ball, picture: torch.Tensor, best: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """The best so far with another square."""
    window = _window(picture, side, generator)
    signs = _signs(picture[:, :1, :1], generator)
    squares = [(picture[window] + sign * ball.radius).clamp(0, 1) for sign in (signs, -signs)]
    tried = best.clone()
    tried[window] = squares[int(torch.equal(squares[0], best[window]))]
    return tried


# l2


def _bumps(ball: Ball, picture: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Five bumps by five, or as many as there is room for, each of random signs."""
    change = torch.zeros_like(picture)
    height, width = picture.shape[1:]
    side = max(1, min(height, width) // 5)
    for top in range((height % side) // 2, height - side + 1, side):
        for left in range((width % side) // 2, width - side + 1, side):
            change[:, top : top + side, left : left + side] = _bump(side, picture, generator)
    return _at_full_length(ball, picture, change)


def _moved(ball: Ball, picture: torch.Tensor, best: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    """The best so far where what is changed in one window, and what clipping has left unused, is put into another."""
    side = min(max(3, side + 1 - side % 2), *picture.shape[1:])
    change = best - picture
    here, there = _window(picture, side, generator), _window(picture, side, generator)
    either = torch.zeros_like(change[:1])
    either[here] = either[there] = 1
    unused = max(0.0, ball.radius**2 - float(change.square().sum())) / len(change)
    available = ((change * either).square().sum((1, 2)) + unused).sqrt()
    bump = _bump(side, picture, generator) + _unit(change[here])
    change[there] = 0
    change[here] = _unit(bump) * available.view(-1, 1, 1)
    return _at_full_length(ball, picture, change)


def _bump(side: int, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Two halves of opposite sign, one beside or above the other, `[C, side, side]`, each channel of length 1 and a random sign (equation 2)."""
    half = side // 2
    bump = torch.cat([_hill(half, side), -_hill(side - half, side)]) if half else _hill(1, 1)
    if torch.rand(1, generator=generator) < 0.5:
        bump = bump.T
    return _unit(bump.to(like)[None]) * _signs(like[:, :1, :1], generator)


def _hill(height: int, width: int) -> torch.Tensor:
    """A hill of length 1 that falls with the distance to its middle: from each ring j outwards, the sum of 1 / j ** 2."""
    rows, columns = (torch.arange(side) - side // 2 for side in (height, width))
    ring = torch.maximum(rows.abs()[:, None], columns.abs())
    heights = (torch.arange(1.0, max(height, width) // 2 + 2) ** -2).flip(0).cumsum(0).flip(0)
    return _unit(heights[ring][None])[0]


def _at_full_length(ball: Ball, picture: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    return (picture + change * (ball.radius / change.norm().clamp_min(1e-12))).clamp(0, 1)


def _unit(change: torch.Tensor) -> torch.Tensor:
    """Each channel `[C, H, W]` at length 1; zero where it is zero."""
    return change / change.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1)


def _window(picture: torch.Tensor, side: int, generator: torch.Generator) -> tuple[slice, slice, slice]:
    """A square at a random place."""
    top, left = (int(torch.randint(size - side + 1, (), generator=generator)) for size in picture.shape[1:])
    return slice(None), slice(top, top + side), slice(left, left + side)


def _signs(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return 2.0 * torch.randint(2, like.shape, generator=generator).to(like) - 1
