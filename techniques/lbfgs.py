"""The first adversarial examples: a quasi-Newton method looks for the smallest change that makes the model answer with another class.

Box-constrained L-BFGS: Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow and Fergus 2014, arXiv:1312.6199, section 4.1: minimise
c |r| + loss(x + r, target) with x + r in [0, 1], and by line search the c at which the target is just reached. Departures: the
squared length takes the place of the length, which has no gradient where the search begins; the loss is the cross-entropy in nats; the
runner-up is aimed at where no class is named; c is found by halving the way between two powers of ten, each search going on from the
smallest change that succeeded. scipy's L-BFGS-B (Byrd, Lu, Nocedal and Zhu 1995), whose bounds are the box of the paper, does the
minimising; of the attack libraries tried none has this attack any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, NamedTuple

import numpy as np

from techniques.base import Help, Range, torch
from techniques.base.attacks import Goal, Iterate, Task, attack

LOWEST, HIGHEST = 1e-3, 1e3  # between which c is looked for, in nats per squared unit of intensity


class Success(NamedTuple):
    """Pixels `[C, H, W]` that reach the goal, their logits `[1, K]`, and the length of their change."""

    pixels: torch.Tensor
    logits: torch.Tensor
    size: float


@attack(
    title="L-BFGS",
    paper="arXiv:1312.6199",
    order=40,
    smallest="l2",
    aims=True,
    limits="The change is an upper bound: Carlini-Wagner, its successor, mostly finds a smaller one. It ends where the other class just wins, so "
    "rounding to the 256 levels of a file may undo it.",
)
def lbfgs(
    task: Task,
    *,
    searches: Annotated[int, Range(1, 20, 1, "searches"), Help("How many values of c are tried, the weight of the change against the loss.")] = 6,
    steps: Annotated[int, Range(1, 200, 1, "steps"), Help("How many steps of the optimiser for each value of c.")] = 10,
) -> Iterator[Iterate]:
    """Some more than one forward and one backward pass per step, one picture after the other."""
    pixels, logits = task.pixels, task.logits(task.pixels)
    yield Iterate(pixels, logits)
    low, high = [LOWEST] * len(pixels), [HIGHEST] * len(pixels)
    for number in task.steps(searches * len(pixels)):
        place, goal = number % len(pixels), task.goal.of(number % len(pixels))
        weight = (low[place] * high[place]) ** 0.5
        best, reached = _minimum(task, task.pixels[place], pixels[place], goal, weight, steps)
        low[place], high[place] = (weight, high[place]) if reached else (low[place], weight)
        if best and (best.size < float((pixels[place] - task.pixels[place]).norm()) or not goal.reached(logits[place : place + 1])):
            chosen = torch.tensor([place], device=pixels.device)
            pixels, logits = pixels.index_copy(0, chosen, best.pixels[None]), logits.index_copy(0, chosen, best.logits)
        yield Iterate(pixels, logits)


def _minimum(
    task: Task, original: torch.Tensor, start: torch.Tensor, goal: Goal, weight: float, steps: int
) -> tuple[Success | None, bool]:
    """Where weight * |change|^2 - gain is smallest, from `start` `[C, H, W]` on: the smallest success that was looked at on the way, and
    whether the minimum itself is one."""
    from scipy.optimize import minimize

    first, best = original.double().cpu().numpy().ravel(), None

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best
        pixels = torch.from_numpy(flat).to(original).view(1, *original.shape).clamp(0, 1)
        logits, gradient = task.gradient(pixels, goal.gain)
        change = flat - first
        size = float(np.linalg.norm(change))
        if goal.reached(logits) and (best is None or size < best.size):
            best = Success(pixels[0], logits, size)
        slope = 2 * weight * change - gradient.double().cpu().numpy().ravel()
        return weight * size**2 - float(goal.gain(logits)), slope

    options = {"maxiter": steps, "maxfun": 2 * steps}
    ended = minimize(value, start.double().cpu().numpy().ravel(), jac=True, method="L-BFGS-B", bounds=[(0.0, 1.0)] * first.size, options=options)
    minimum = torch.from_numpy(ended.x).to(original).view(1, *original.shape).clamp(0, 1)
    return best, bool(goal.reached(task.logits(minimum)))
