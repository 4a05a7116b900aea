"""The shortest way to another answer: the picture is pushed straight towards the nearest border between two classes, again and
again, until it has just crossed it. How small the change is says how close to a mistake this picture was.

DeepFool: Moosavi-Dezfooli, Fawzi and Frossard 2016, arXiv:1511.04599, algorithm 2: with every class's margin f[k] over the
predicted one taken as linear, the border at the smallest distance |f[k]| / |w[k]| is stepped to by |f[k]| / |w[k]|^2 * w[k],
w[k] being the gradient of f[k]; all steps together, made (1 + overshoot) times as long, are the change. With linf the
distance is |f[k]| / |w[k]|_1 and the step goes along the sign (equation 13). Departures: only the few most probable classes
are looked at, as in the authors' own program, since each costs a way back through the network; pixels stay in [0, 1], as
foolbox keeps them; a class may be aimed at, and then its margin over the strongest other one is the one f; and in
the end halving the straight way back to the picture finds where it enters the other class, so that neither the overshoot nor
a last step that went too far makes the change longer than its direction needs.

The algorithm stands here because foolbox (3.3.4) runs forward again for each class and knows no target, and torchattacks and
ART take gradients of all classes or of one class at a time, which takes minutes with 1,000 of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Goal, Iterate, Smallest, Task, attack

PAST = 1e-4  # so much farther than the border, as in foolbox: a margin of exactly zero would stand still


@attack(
    title="DeepFool",
    paper="arXiv:1511.04599",
    order=30,
    smallest="l2",
    loss="margin",
    limits="The change is an upper bound: a still smaller one may exist, and Carlini-Wagner often finds it. It ends on the border "
    "itself, where the model is torn between two classes, so that rounding to the 256 levels of a file may undo it.",
)
def deep_fool(
    task: Task,
    *,
    norm: Smallest = "l2",
    steps: Annotated[int, Range(1, 100, 1, "steps"), Help("How many steps at most; it ends earlier, once the border is crossed.")] = 30,
    classes: Annotated[int, Range(2, 100, 1, "classes"), Help("How many of the most probable classes are looked at, the predicted one with them.")] = 10,
    overshoot: Annotated[float, Range(0, 0.5, 0.01), Help("By which share more than needed every step goes, so that the border is crossed.")] = 0.02,
) -> Iterator[Iterate]:
    """Per step one forward pass and one backward pass for each class but the predicted one, or for the target alone; ten more
    forward passes find the border at the end."""
    pixels, change, logits = task.pixels, torch.zeros_like(task.pixels), None
    moving = torch.arange(len(pixels), device=pixels.device)
    for step in task.steps(steps + 1):
        goal = task.goal.of(moving)
        seen, gains, slopes = task.gradients(pixels[moving], partial(_gains, goal=goal, classes=classes))
        logits = seen if logits is None else logits.index_copy(0, moving, seen)
        if step:
            yield Iterate(pixels, logits)
        if gains is None or step == steps:
            break
        way, passable = _nearest_border(gains, slopes, norm)
        going = passable & ~goal.reached(seen)
        moving = moving[going]
        change = change.index_add(0, moving, way[going])
        pixels = pixels.index_copy(0, moving, (task.pixels[moving] + (1 + overshoot) * change[moving]).clamp(0, 1))
        if not len(moving):
            break
    yield task.shortened(Iterate(pixels, logits))


def _gains(logits: torch.Tensor, goal: Goal, classes: int) -> list[torch.Tensor]:
    """What has to rise above zero, each `[B]` in logits: the margin of each of the most probable classes over the one that is left, or
    the goal's own where there is one way only. None where every picture is at its goal."""
    if goal.reached(logits).all():
        return []
    if goal.targeted or goal.multi_label:
        return [goal.margin(logits)]
    own = goal.classes.view(-1, 1)
    others = logits.scatter(1, own, -torch.inf).topk(min(classes, logits.shape[1]) - 1).indices
    return list((logits.gather(1, others) - logits.gather(1, own)).unbind(1))


def _nearest_border(gains: torch.Tensor, slopes: torch.Tensor, norm: str) -> tuple[torch.Tensor, torch.Tensor]:
    """For gains `[N, B]` and their gradients `[N, B, C, H, W]`: the way to the nearest border `[B, C, H, W]`, and whether there is one,
    bool `[B]`. It is no longer than the way through all of `[0, 1]`."""
    largest = slopes.flatten(2).abs().amax(2)
    slopes = slopes / largest.clamp_min(1e-38)[..., None, None, None]  # or the squares of large numbers overflow
    sizes = slopes.flatten(2).norm(1 if norm == "linf" else 2, dim=2)
    distances = torch.where(largest > 0, gains.abs() / largest / sizes, torch.inf)
    nearest = distances.argmin(0), torch.arange(gains.shape[1], device=gains.device)
    distance, slope = distances[nearest], slopes[nearest]
    length = (distance + PAST).clamp(max=1 if norm == "linf" else math.sqrt(slope[0].numel()))
    direction = slope.sign() if norm == "linf" else slope / sizes[nearest].view(-1, 1, 1, 1)
    return length.view(-1, 1, 1, 1) * direction, distance.isfinite()
