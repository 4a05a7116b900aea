"""The smallest change that an optimiser can find: the picture is pulled back to what it was and pushed over the border at the same
time, until the two balance. Slower than other attacks, it ends nearer, and tells best how little it takes to fool this model.

L2 attack of Carlini and Wagner 2017, arXiv:1608.04644, section VI: minimise |x' - x|^2 + c * max(-margin(x'), -confidence) over w,
where x' = (tanh(w) + 1) / 2 never leaves [0, 1], by Adam. c grows tenfold until the goal is reached, then the middle between what
failed and what succeeded is tried; of all that is seen on the way the nearest picture at the goal is kept. The margin is f6 of
section V. Departures, because their 10,000 steps for each of 20 values of c are not to be waited for: c and the rate of Adam begin
not at the same number for every model and picture but at what the border looks like from the picture. Its distance there is d =
(confidence - margin) / |g|, g being the margin's gradient; were the margin linear, c = 2 d / |g| would balance on the border, and the
first is FIRST times that. One step of Adam moves a pixel by no more than `step_size` times the root mean square of a change of length
d; within each search this falls to zero along a cosine, and it is trebled where a search came to nothing. Without confidence, halving the
straight way back to the picture finds the border at the end.

The algorithm stands here because torchattacks and foolbox (3.3.4) take the same rate of Adam, 0.01, for every picture: one such step
moves a pixel more than ten times as far as the whole attack needs to on a photograph, and in few steps nothing small is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Task, attack, distance, length

FIRST = 3.0


@attack(
    title="Carlini-Wagner",
    paper="arXiv:1608.04644",
    order=35,
    smallest="l2",
    loss="margin",
    limits="The change is an upper bound, and shrinks with more steps: compare two numbers only at equal steps. Without confidence it "
    "ends on the border itself, where the model is torn between two classes and rounding to the 256 levels of a file may undo it.",
)
def carlini_wagner(
    task: Task,
    *,
    confidence: Annotated[float, Range(0, 50, 0.5, "logits"), Help("How far past the border it has to be, as a margin over the next class.")] = 0.0,
    searches: Annotated[int, Range(1, 20, 1, "searches"), Help("How many values of c, the weight of the goal against the length, are tried.")] = 3,
    steps: Annotated[int, Range(5, 1000, 5, "steps"), Help("How many steps of Adam each search takes.")] = 40,
    step_size: Annotated[float, Range(0.05, 5, 0.05), Help("How far a step may go, beside the way to the border as it looks from the picture.")] = 1.0,
) -> Iterator[Iterate]:
    """One forward and one backward pass per step and one of each before; ten more forward passes find the border at the end."""
    pixels, goal = task.pixels, task.goal
    logits, slope = task.gradient(pixels, goal.margin)
    steepness = length(slope)
    apart = (confidence - _each(goal.margin(logits))).clamp_min(0) / steepness
    apart = apart.clamp(max=math.sqrt(pixels[0].numel()))  # the way through all of [0, 1]
    best, nearest = Iterate(pixels, logits, final=False), torch.full_like(apart, torch.inf)
    weight, low, high, rate = 2 * FIRST * apart, torch.zeros_like(apart), nearest, 2 * step_size * apart / math.sqrt(pixels[0].numel())
    start = torch.atanh(0.999999 * (2 * pixels - 1))
    for count in task.steps(searches * steps if slope.any() and apart.any() else 0):
        if count % steps == 0:
            hidden, adam, hit = start, _adam(), torch.zeros_like(apart, dtype=torch.bool)
        changed = (hidden.tanh() + 1) / 2
        logits, slope = task.gradient(changed, goal.margin)
        margin, size = _each(goal.margin(logits)), _each(distance(changed - pixels, "l2"))
        there = _each(goal.reached(logits)) & (margin >= confidence)
        better = torch.where(there, size < nearest, nearest.isinf() & (margin > _each(goal.margin(best.logits))))
        best = Iterate(torch.where(better, changed, best.pixels), torch.where(better[:, 0, 0], logits, best.logits), final=False)
        nearest, hit = torch.where(there & better, size, nearest), hit | there
        yield best
        pull = 2 * (changed - pixels) - weight * (margin < confidence) * (slope / steepness)
        fading = (1 + math.cos(math.pi * (count % steps) / steps)) / 2
        hidden = hidden - fading * rate * adam(pull * 2 * changed * (1 - changed))  # the last factors: how x' follows w
        if count % steps == steps - 1:
            low, high = torch.where(hit, low, weight), torch.where(hit, weight, high)
            weight, rate = torch.where(high.isinf(), 10 * weight, (low + high) / 2), torch.where(high.isinf(), 3 * rate, rate)
    best = best._replace(final=True)
    yield best if confidence else task.shortened(best)


def _adam() -> Callable[[torch.Tensor], torch.Tensor]:
    """The direction of Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1) for one gradient after the other, no value above about 1."""
    first = second = 0.0
    count = 0

    def direction(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal first, second, count
        count += 1
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient.square()
        return first / (1 - 0.9**count) / ((second / (1 - 0.999**count)).sqrt() + 1e-12)

    return direction


def _each(values: torch.Tensor) -> torch.Tensor:
    """`[B]` as `[B, 1, 1, 1]`."""
    return values.view(-1, 1, 1, 1)
