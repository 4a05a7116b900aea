"""A network fooled by a single pixel, or a handful of them, of any colour: where the decision hangs on one point, there need be no
change that is small everywhere.

One-pixel attack: Su, Vargas and Sakurai 2019, arXiv:1710.08864, sections III.B and IV.A: differential evolution over the places and
colours of the pixels, x_i <- x_r1 + F (x_r2 - x_r3) with F = 0.5 and no crossover, each child against its own parent; at first places
are uniform and colours normal numbers around mid-grey. Departures: whatever leaves the picture comes back on the other side (a place)
or stays at black or white (a colour), which the paper leaves open; a population of 50 for 20 generations, not 400 for 100; the search
ends at the first success, where theirs goes on to a probability of 5 or 90 %; the margin is climbed unless cross-entropy, their
probability, is asked for: where a model is sure, that is flat. A whole generation goes through the network in batches. scipy's
differential evolution (1.17) would ask about one child at a time or make all of a generation's pictures at once; torchattacks' (3.3.0)
sets every pixel in a loop of Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Loss, Task, attack

SCALE = 0.5  # F
DEVIATION = 127 / 255  # of the first colours, around 0.5

PixelCount = Annotated[int, Range(1, 5, 1, "pixels"), Help("How many pixels may change.")]
Population = Annotated[int, Range(4, 400, 1, "candidates"), Help("How many sets of pixels evolve; all of them are asked about in every generation.")]
Generations = Annotated[int, Range(0, 200, 1, "generations"), Help("How many times all candidates have a child.")]


@attack(
    title="One pixel",
    paper="arXiv:1710.08864",
    order=60,
    knowledge="scores",
    limits="Found on pictures of 32 pixels a side; in a larger picture a single pixel weighs less, and the attack mostly fails. "
    "Where it fails, another pixel may do: the search is random and short.",
)
def one_pixel(
    task: Task, *, pixel_count: PixelCount = 1, population: Population = 50, generations: Generations = 20, loss: Loss = "margin"
) -> Iterator[Iterate]:
    """`population` * (1 + generations) forward passes per picture, or fewer. A candidate is, for each of its pixels, the place down and across
    and the colour, all as shares from 0 to 1: `[B, N, pixel_count, 2 + C]`."""
    candidates = _first(task, pixel_count, population)
    answers, gains = _judged(task, candidates, torch.arange(len(candidates)))
    for _ in task.steps(generations):
        best = _best(task, candidates, answers, gains)
        yield best
        live = (~task.goal.reached(best.logits)).nonzero().flatten()
        if not len(live):
            return
        children = _children(candidates[live], task.generator)
        new, gained = _judged(task, children, live)
        better = gained > gains[live]
        keep = (live[:, None].expand_as(better)[better], better.nonzero()[:, 1])
        candidates, answers, gains = (old.index_put(keep, found[better]) for old, found in ((candidates, children), (answers, new), (gains, gained)))
    yield _best(task, candidates, answers, gains)


def _first(task: Task, pixel_count: int, population: int) -> torch.Tensor:
    batch, channels = task.pixels.shape[:2]
    places = torch.rand(batch, population, pixel_count, 2, generator=task.generator)
    colours = 0.5 + DEVIATION * torch.randn(batch, population, pixel_count, channels, generator=task.generator)
    return torch.cat([places, colours.clamp(0, 1)], -1).to(task.pixels)


def _children(parents: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One for each parent: the sum of one candidate and half the difference of two others, all three drawn for each child."""
    batch, population = parents.shape[:2]
    drawn = torch.rand(batch, population, population, generator=generator).topk(3).indices.to(parents.device)
    first, second, third = (parents[torch.arange(batch)[:, None], drawn[..., i]] for i in range(3))
    children = first + SCALE * (second - third)
    return torch.cat([children[..., :2] % 1, children[..., 2:].clamp(0, 1)], -1)


def _judged(task: Task, candidates: torch.Tensor, owners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model says to candidates `[B, N, ...]` of the pictures `owners` `[B]`, logits `[B, N, K]`, and their gain `[B, N]`."""
    count = candidates.shape[1]
    each = owners.repeat_interleave(count)
    numbers = torch.arange(len(each))
    answers = task.logits(numbers, lambda part: _painted(task.pixels[each[part]], candidates.flatten(0, 1)[part]))
    return answers.unflatten(0, (-1, count)), task.goal.of(each).gain(answers).view(-1, count)


def _painted(pictures: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Pictures `[N, C, H, W]` with the pixels of a candidate each, `[N, pixel_count, 2 + C]`."""
    height, width = pictures.shape[2:]
    down, across = ((candidates[..., i] * side).long().clamp(max=side - 1) for i, side in enumerate((height, width)))
    painted = pictures.clone()
    painted[torch.arange(len(painted))[:, None], :, down, across] = candidates[..., 2:]
    return painted


def _best(task: Task, candidates: torch.Tensor, answers: torch.Tensor, gains: torch.Tensor) -> Iterate:
    first = torch.arange(len(gains)), gains.argmax(1)
    return Iterate(_painted(task.pixels, candidates[first]), answers[first])
