"""The white-box attack without the white box: the slope along each colour of each block of the picture is measured by asking twice, a
little to either side, and then followed as if the network had told it.

Zeroth order optimization: Chen, Zhang, Sharma, Yi and Hsieh 2017, arXiv:1708.03999: of the objective of Carlini and Wagner (section 3.2;
the squared length of the change plus `weight` times what is missing of the margin) symmetric differences along a random batch of 128
coordinates, then Adam on those alone (algorithm 2), in a space of fewer dimensions (section 3.4); the change is clipped, which they do for
ImageNet, too. Departures, all for a budget of thousands of queries where theirs goes to millions: the space is made of blocks, whose
lengths are exact, not of bilinear bumps, and is not refined on the way; every coordinate has its turn before one has a second, in place
of importance sampling; differences reach 4/255 to either side, as 0.0001 drowns in the rounding of float32; the step grows until the goal
is reached for the first time and shrinks from then on, where theirs is 0.002 throughout. ART's (1.20.1) is no oracle: neither with
its defaults nor with as many queries did it fool one of six digits that this one fooled with 2,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Queries, Task, attack, length

COORDINATES = 128  # measured together
REACH = 4 / 255  # to either side of a value, for its slope
DECAYS = (0.9, 0.999)  # of Adam's two means
GROWTH, SHRINKAGE = 1.5, 0.8  # of the steps before the first success, and after it
PATIENCE = 3  # steps without a smaller change, after which it ends

Grid = Annotated[int, Range(4, 512, 1, "blocks a side"), Help("How many blocks the change is made of; the picture's size or more means every pixel.")]
StepLength = Annotated[float, Range(0.001, 0.2, 0.001), Help("How far a block's colour moves in the first step, as a share of the range from black to white.")]
Weight = Annotated[float, Range(0.1, 1000, 0.1), Help("What a missing logit of margin counts against a change of squared length 1.")]


@attack(
    title="ZOO",
    paper="arXiv:1708.03999",
    order=66,
    knowledge="scores",
    smallest="l2",
    limits="It pays two queries for every slope that a gradient would give for nothing; with a small budget the change is blocky and larger "
    "than need be.",
)
def zoo(
    task: Task, *, queries: Queries = 2000, grid: Grid = 16, step_length: StepLength = 0.02, weight: Weight = 10.0
) -> Iterator[Iterate]:
    """At most `queries` forward passes per picture, 257 in a step."""
    yield from task.one_by_one(lambda alone: _descended(alone, queries - 1, grid, step_length, weight))


def _descended(task: Task, queries: int, grid: int, step_length: float, weight: float) -> Iterator[Iterate]:
    """Where Adam goes, for a task of one picture."""
    blocks = _Blocks.of(task.pixels, grid)
    values = torch.zeros(len(blocks.areas), dtype=torch.float64, device=task.pixels.device)
    means, waiting, smallest, idle = torch.zeros(3, *values.shape).to(values), values.new_empty(0), float("inf"), 0
    while (count := min(COORDINATES, len(values), (queries - task.forward - 1) // 2)) > 0 and idle < PATIENCE:
        task.run.report(task.forward / queries, f"{task.title}: {task.forward} of {queries} queries")
        if len(waiting) < count:
            waiting = torch.randperm(len(values), generator=task.generator).to(values.device)
        chosen, waiting = waiting[:count], waiting[count:]
        slopes = weight * _slopes(task, blocks, values, chosen) + 2 * blocks.areas[chosen] * values[chosen]
        values[chosen] -= step_length * _adam(means, chosen, slopes)
        pixels = blocks.changed(values[None])
        logits = task.logits(pixels)
        yield Iterate(pixels, logits)
        size = float(length(pixels - task.pixels)) if task.goal.reached(logits) else float("inf")
        idle = 0 if size < 0.99 * smallest else idle + (smallest < float("inf"))
        smallest = min(size, smallest)
        step_length *= GROWTH if smallest == float("inf") else SHRINKAGE


def _slopes(task: Task, blocks: _Blocks, values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """By how much what is missing of the margin grows per unit of some of the values, in logits: symmetric differences at two queries each."""
    count = len(chosen)

    def probes(numbers: torch.Tensor) -> torch.Tensor:
        sides = REACH * (1 - 2 * (numbers // count)).to(values)
        return blocks.changed(values.expand(len(numbers), -1).scatter_add(1, chosen[numbers % count, None], sides[:, None]))

    margins = task.goal.repeated(2 * count).margin(task.logits(torch.arange(2 * count, device=values.device), probes).double())
    missing = (-margins).clamp(min=0)
    return (missing[:count] - missing[count:]) / (2 * REACH)


def _adam(means: torch.Tensor, chosen: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
    """The step of length about 1 for the chosen coordinates, whose mean slope, mean square and number of steps `[3, D]` are brought up to date."""
    mean, square, times = means[:, chosen]
    mean, square, times = DECAYS[0] * mean + (1 - DECAYS[0]) * slopes, DECAYS[1] * square + (1 - DECAYS[1]) * slopes**2, times + 1
    means[:, chosen] = torch.stack([mean, square, times])
    mean, square = mean / (1 - DECAYS[0] ** times), square / (1 - DECAYS[1] ** times)
    return mean / (square.sqrt() + 1e-8)


@dataclass(frozen=True, eq=False)
class _Blocks:
    """The picture `[1, C, H, W]` in blocks: which block each row and each column is in, and how many pixels each block has, `[D]` for all channels."""

    pixels: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    areas: torch.Tensor

    @classmethod
    def of(cls, pixels: torch.Tensor, grid: int) -> _Blocks:
        rows, columns = (torch.arange(side, device=pixels.device) * min(grid, side) // side for side in pixels.shape[2:])
        areas = rows.bincount()[:, None] * columns.bincount()
        return cls(pixels, rows, columns, areas.expand(pixels.shape[1], -1, -1).flatten())

    def changed(self, values: torch.Tensor) -> torch.Tensor:
        """Pictures whose blocks are changed by values `[N, D]`."""
        values = values.view(-1, self.pixels.shape[1], int(self.rows[-1]) + 1, int(self.columns[-1]) + 1).to(self.pixels)
        return (self.pixels + values[:, :, self.rows][..., self.columns]).clamp(0, 1)
