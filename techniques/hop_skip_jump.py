"""A network fooled by somebody who is told nothing but its answers: from a picture of noise that it takes for something else, step by
step along the boundary between the two answers, towards the picture that was given.

HopSkipJumpAttack: Chen, Jordan and Wainwright 2020, arXiv:1904.02144, algorithms 1 and 2, for l2: find the boundary by halving, estimate
its normal from the answers to a few hundred pictures around (equation 16, their mean taken off), step along it by distance / sqrt(t),
halved until it succeeds, and find the boundary again. Departures: the boundary is found to THETA of the distance, not to d ** -1.5, which
float32 pixels cannot resolve, and the probes are longer by as much: sqrt(d) * THETA * distance, as in the paper; the directions are drawn
on a `grid` coarser than the picture and enlarged, where boundaries of photographs lie (Li et al. 2020, arXiv:2005.14137, section 3.4; d is
the number of its values; with a grid as fine as the picture it is the paper's); of several starts, noise of all grain sizes, the one that
still succeeds nearest to the picture is taken; and a step that would end farther away is not taken. A chosen target needs a start that
is already taken for it: noise again, a quarter of the queries at most; where that finds none, the attack says so and leaves the picture
alone. foolbox's (3.3.4) has none of this: one start, directions of single pixels, every step taken, and a boundary as fine as float32,
which costs queries; with as many it ends farther away (docs/attacks.md, tests/test_hop_skip_jump.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Task, attack, length, unit
from techniques.base.batches import batch_size

STARTS = 20  # pictures of noise that are asked about together
HALVES = 5  # times that they are brought halfway to the picture
PROBES = 50  # around the first point of the boundary, and sqrt(t) times as many around that of step t
THETA = 2.0**-12  # how near to the boundary a point is brought, as a share of its distance from the picture
LENGTHS, MIDDLES = 10, 14  # questions for the length of a step, and for the boundary behind it
FEWEST = 10  # probes that are worth a step
Queries = Annotated[int, Range(200, 20000, 50, "queries"), Help("How many pictures the model may be asked about; with more of them it comes closer.")]
Grid = Annotated[int, Range(4, 512, 1, "cells a side"), Help("How fine the directions are that it tries: the picture's size or more means every pixel.")]


@attack(
    title="HopSkipJump",
    paper="arXiv:1904.02144",
    order=64,
    knowledge="decisions",
    smallest="l2",
    limits="What it ends with is near, not nearest: more queries come closer. Where it finds no picture to start from, there may be one.",
)
def hop_skip_jump(task: Task, *, queries: Queries = 600, grid: Grid = 32) -> Iterator[Iterate]:
    """At most `queries` forward passes per picture. Only whether the goal is reached is looked at, never a logit."""
    yield from task.one_by_one(lambda alone: _approach(alone, queries - 1, grid))


def _approach(task: Task, queries: int, grid: int) -> Iterator[Iterate]:
    """Ever nearer pictures that succeed, for a task of one picture."""
    point = _start(task, queries // 4)
    if point is None:
        task.remark = "No picture to start from was found: no noise that was tried is taken for the class. Choose another one."
        return
    yield Iterate(point, task.logits(point))
    point, step = _on_boundary(task, point), 1
    while True:
        yield Iterate(point, task.logits(point))
        count = min(int(PROBES * math.sqrt(step)), queries - task.forward - LENGTHS - MIDDLES - 1)
        distance = length(point - task.pixels)
        if count < FEWEST or distance < 1e-6:
            return
        task.run.report(task.forward / queries, f"{task.title}: {task.forward} of {queries} queries")
        found = _stepped(task, point, _normal(task, point, count, grid, distance), distance / math.sqrt(step))
        if found is not None and length(found - task.pixels) < distance:
            point = found
        step += 1


def _succeeds(task: Task, pixels: torch.Tensor) -> torch.Tensor:
    """All that this attacker ever learns of pictures `[N, C, H, W]`: bool `[N]`."""
    return task.goal.repeated(len(pixels)).reached(task.logits(pixels))


def _start(task: Task, most: int) -> torch.Tensor | None:
    """Noise that succeeds, brought halfway to the picture as often as any of it still does; None where `most` questions find none."""
    while True:
        points = _noise(task, STARTS)
        points = points[_succeeds(task, points)]
        if len(points):
            break
        if task.forward + STARTS > most:
            return None
    for _ in range(HALVES):
        halfway = (points + task.pixels) / 2
        halfway = halfway[_succeeds(task, halfway)]
        if not len(halfway):
            break
        points = halfway
    nearest = length(points - task.pixels).argmin()
    return points[nearest][None]


def _noise(task: Task, count: int) -> torch.Tensor:
    """Uniform noise, `[count, C, H, W]`, with grains of 1, 2, 4 ... pixels, up to one colour all over."""
    channels, *size = task.pixels.shape[1:]
    sizes = [[max(1, side >> power) for side in size] for power in range(max(size).bit_length())]
    grains = [torch.rand(1, channels, *sizes[i % len(sizes)], generator=task.generator).to(task.pixels) for i in range(count)]
    return torch.cat([_enlarged(grain, size) for grain in grains])


def _on_boundary(task: Task, far: torch.Tensor) -> torch.Tensor:
    """Of the pictures between the given one and `far`, which succeeds, one that only just does."""
    low, high, point = 0.0, 1.0, far
    for _ in range(MIDDLES):
        middle = (low + high) / 2
        tried = task.pixels + middle * (far - task.pixels)
        if _succeeds(task, tried):
            high, point = middle, tried
        else:
            low = middle
        if high - low <= THETA * high:
            break
    return point


def _normal(task: Task, point: torch.Tensor, count: int, grid: int, distance: torch.Tensor) -> torch.Tensor:
    """The direction of length 1 in which pictures around a point on the boundary succeed, by the answers to `count` of them."""
    channels, *size = task.pixels.shape[1:]
    drawn = torch.randn(count, channels, *(min(grid, side) for side in size), generator=task.generator).to(point)
    reach = math.sqrt(drawn[0].numel()) * THETA * distance
    succeeding, all_of_them, sign = torch.zeros_like(point), torch.zeros_like(point), 0.0
    for part in drawn.split(batch_size(task.model)):
        probes = (point + reach * unit(_enlarged(part, size))).clamp(0, 1)
        directions, signs = (probes - point) / reach, 2.0 * _succeeds(task, probes) - 1
        succeeding += (signs.view(-1, 1, 1, 1) * directions).sum(0)
        all_of_them += directions.sum(0)
        sign += float(signs.sum()) / count
    return unit(succeeding if abs(sign) == 1 else succeeding - sign * all_of_them)


def _stepped(task: Task, point: torch.Tensor, normal: torch.Tensor, step: torch.Tensor) -> torch.Tensor | None:
    """The point of the boundary behind a step along the normal, halved until it succeeds; None where none does."""
    for _ in range(LENGTHS):
        tried = (point + step * normal).clamp(0, 1)
        if _succeeds(task, tried):
            return _on_boundary(task, tried)
        step = step / 2
    return None


def _enlarged(values: torch.Tensor, size: list[int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(values, size, mode="bilinear")
