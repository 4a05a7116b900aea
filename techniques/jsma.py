"""As few values as can be, each changed from one end of the scale to the other: which ones, a saliency map says that looks for what helps
one class and hurts the others.

Jacobian-based saliency map attack: Papernot, McDaniel, Jha, Fredrikson, Celik and Swami 2016, arXiv:1511.07528, algorithms 2 and 3: with
alpha the gradient of the target's logit at a value (one channel of one pixel) and beta that of the sum of all other logits, the pair of values with the largest
-(alpha_p + alpha_q) (beta_p + beta_q) is changed by theta, of those with a rising first and a falling second factor. Departures: values may become
darker, too, where they only grow brighter in the paper; pairs are looked for among the most promising values only, since a photograph has
billions of them, and several pairs without a value in common are changed at once; where no pair has both signs, as with two classes whose
logits are opposites of a constant, the margin decides; the runner-up is aimed at where no class is named. Two ways back give both gradients,
where torchattacks takes the Jacobian of all classes, which does not fit into memory for 1,000, and ART a pass for each pair and class.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Task, attack

CANDIDATES = 256  # values of each direction among which pairs are looked for, or four times as many as are to be changed
LOOKED_AT = 64  # so many pairs are looked at for each that is chosen


@attack(
    title="JSMA",
    paper="arXiv:1511.07528",
    order=45,
    smallest="l0",
    aims=True,
    loss="logit",
    limits="Few values changed from end to end are easily seen, and filters that remove single pixels undo it. The order in which values are taken "
    "is greedy: a smaller set may exist.",
)
def jsma(
    task: Task,
    *,
    theta: Annotated[float, Range(0.05, 1, 0.05, "of the range"), Help("By how much a value is changed; it is clipped to the range.")] = 1.0,
    direction: Annotated[Literal["both", "brighter", "darker"], Help("Which way values may change; brighter only in the paper.")] = "both",
    at_once: Annotated[float, Range(0.01, 5, 0.01, "% of the values"), Help("How many values change per step, two at least.")] = 0.1,
    most: Annotated[float, Range(0.1, 100, 0.1, "% of the values"), Help("How many values may change altogether.")] = 10.0,
) -> Iterator[Iterate]:
    """One forward and two backward passes per step, and one forward pass at the end."""
    values = task.pixels[0].numel()
    pairs = max(1, round(values * at_once / 200))
    pixels, unchanged = task.pixels, torch.ones(len(task.pixels), values, dtype=torch.bool, device=task.pixels.device)
    for step in task.steps(max(1, int(values * most / 100) // (2 * pairs))):
        logits, _, slopes = task.gradients(pixels, lambda logits: [_own(task, logits), _others(task, logits)])
        reached = task.goal.reached(logits)
        if step or reached.all():
            yield Iterate(pixels, logits)
        if reached.all():
            return
        moved = pixels.flatten(1).clone()
        for place in (~reached).nonzero().flatten().tolist():
            chosen, signs = _pairs(*slopes[:, place].flatten(1), pixels[place].flatten(), unchanged[place], direction, pairs)
            moved[place, chosen] = (moved[place, chosen] + theta * signs).clamp(0, 1)
            unchanged[place, chosen] = False
        if torch.equal(moved, pixels.flatten(1)):
            break
        pixels = moved.view_as(pixels)
    yield Iterate(pixels, task.logits(pixels))


def _own(task: Task, logits: torch.Tensor) -> torch.Tensor:
    return task.goal.gain(logits)


def _others(task: Task, logits: torch.Tensor) -> torch.Tensor:
    """The sum of the logits of all other classes `[B]`, or of the opposite label."""
    own = task.goal.gain(logits)
    return -own if task.goal.multi_label else logits.sum(1) - own


def _pairs(
    alpha: torch.Tensor, beta: torch.Tensor, pixels: torch.Tensor, unchanged: torch.Tensor, direction: str, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The values that are changed next, by number `[2 * count]` or fewer, and which way each, 1 or -1; all arguments `[C * H * W]`."""
    if not alpha.any() and not beta.any():
        return torch.zeros(0, dtype=torch.long, device=alpha.device), alpha[:0]
    largest = torch.maximum(alpha.abs().amax(), beta.abs().amax())
    alpha, beta = alpha / largest, beta / largest  # or products of huge numbers overflow
    found = []
    for sign, able in ((1, pixels < 1), (-1, pixels > 0)):
        if direction in ("both", "brighter" if sign > 0 else "darker"):
            promise = torch.where(able & unchanged, sign * (alpha - beta), -torch.inf)
            best = promise.topk(min(max(CANDIDATES, 4 * count), len(promise))).indices
            found.append((best[promise[best].isfinite()], sign))
    numbers = torch.cat([best for best, _ in found])
    signs = torch.cat([torch.full_like(best, sign, dtype=alpha.dtype) for best, sign in found])
    first, second = torch.triu_indices(len(numbers), len(numbers), 1, device=numbers.device)
    rising, falling = ((signs * slope[numbers])[first] + (signs * slope[numbers])[second] for slope in (alpha, beta))
    fits = (numbers[first] != numbers[second]) & (rising > 0) & (falling < 0)
    score = torch.where(fits, -rising * falling, -torch.inf)
    if not fits.any():
        score = torch.where((numbers[first] != numbers[second]) & (rising - falling > 0), rising - falling, -torch.inf)
    order = score.topk(min(LOOKED_AT * count, len(score))).indices
    taken: dict[int, int] = {}
    for pair in order[score[order].isfinite()].tolist():
        both = [int(first[pair]), int(second[pair])]
        if len(taken) < 2 * count and not any(int(numbers[each]) in taken for each in both):
            taken |= {int(numbers[each]): each for each in both}
    places = torch.tensor(list(taken.values()), dtype=torch.long, device=numbers.device)
    return numbers[places], signs[places]
