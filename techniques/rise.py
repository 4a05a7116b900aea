"""Which parts of the picture the class needs to be seen: the picture is looked at through many random veils, and where the
network was surer whenever a place showed through, the map is high; it is negative where the class does better without.

Randomized input sampling for explanation: Petsiuk, Das and Saenko 2018, arXiv:1806.07421, section 3.2: binary masks of grid x
grid cells, each open with probability p, enlarged bilinearly and cropped at a random shift; equation 6: S = sum of f(masked
picture) * mask / (N * E[mask]). Departures: the map is S less the mean of f, estimated without bias as the covariance of f and
the mask over p. That is the same order of pixels, but zero means that a place does not matter, and the noise of a constant is gone.
What the mask hides fades into a chosen filling (the paper: into zero); the logit is shown beside the probability; and the
standard error says how much of the map may be chance. The paper takes 4,000 to 8,000 masks; here the picture gets better while you watch.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Note, Predictions, Range, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.batches import batches
from techniques.base.covering import Fill, fill_pixels
from techniques.base.agreement import spearman

AGREE = 0.5  # below this rank correlation of its two halves, a map is mostly chance


class Answer(NamedTuple):
    probability: Heatmap
    logit: Heatmap
    standard_error: Heatmap
    predictions: Predictions
    note: Note


@technique(
    title="RISE",
    family="Covering",
    paper="arXiv:1806.07421",
    order=32,
    limits="It is an estimate from random masks: compare it with its standard error. It is as smooth as its grid is coarse, shows places "
    "that matter on average over half-hidden pictures, which the network has never learned from, and not what two places do together.",
)
def rise(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    masks: Annotated[int, Range(100, 8000, 100, "masks"), Help("How many random masks; four times as many halve the standard error.")] = 1000,
    grid: Annotated[int, Range(2, 16, 1, "cells"), Help("Cells of a mask along each side; more are finer and need more masks.")] = 7,
    visible: Annotated[int, Range(10, 90, 5, "% of the cells"), Help("How much of the picture a mask shows on average.")] = 50,
    fill: Fill = "grey",
    seed: Seed = 0,
) -> Answer:
    """Two signed maps `[H, W]`, how much higher the target's probability and logit are when a pixel shows through than on average
    over the masks; and the standard error of the first, in probability."""
    pixels, chance = sample.pixels, visible / 100
    filling = fill_pixels(fill, pixels)
    generator = torch.Generator().manual_seed(seed)
    cells = (torch.rand(masks, grid, grid, generator=generator) < chance).to(pixels)
    shifts = torch.rand(masks, 2, generator=generator)
    run.check()
    with torch.no_grad():
        before = model.logits(pixels)[0]
        target = int(model.predicted(before)) if target is None else target
        halves = [Sums(chance), Sums(chance)]  # of the masks with even numbers, and with odd ones
        for rows, due in run.steps(batches(masks, model), "Batch of masked pictures"):
            veils = masks_from(cells[rows], shifts[rows], pixels.shape[2:])
            logits = model.logits((pixels * veils + filling * (1 - veils)).contiguous(memory_format=torch.channels_last))
            values = torch.stack([model.shares(logits)[:, target], logits[:, target]], 1)
            for number, half in enumerate(halves):
                first = (number - rows.start) % 2
                half.add(values[first::2].double(), veils[first::2, 0].double())
            if due:
                run.show(lambda: _answer(model, pixels, target, before, halves))
    return _answer(model, pixels, target, before, halves)


def masks_from(cells: torch.Tensor, shifts: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks `[B, 1, H, W]` in `[0, 1]` from open cells `[B, s, s]` and shifts `[B, 2]` in `[0, 1)`, each a share of a cell.

    The cells are enlarged to (s + 1) cells of the picture's size over s, and the picture is a window in that (section 3.2).
    """
    sides = [math.ceil(length / cells.shape[1]) for length in size]
    large = [(cells.shape[1] + 1) * side for side in sides]
    enlarged = torch.nn.functional.interpolate(cells[:, None], large, mode="bilinear")
    starts = [[int(share * side) for share, side in zip(shift, sides)] for shift in shifts.tolist()]
    return torch.stack([mask[:, top : top + size[0], left : left + size[1]] for mask, (top, left) in zip(enlarged, starts)])


class Sums:
    """What is needed of the masked pictures so far: their number N, and sums over them, in float64.

    With f the readings (probability, logit) and b = mask - p: of f `[2]`, of b and b * b `[H * W]`, of f * b, f * b * b and
    f * f * b * b `[2, H * W]`. They can be added to each other.
    """

    def __init__(self, chance: float):
        self.chance, self.count = chance, 0
        self.sums: list[torch.Tensor | float] = [0.0] * 6

    def add(self, values: torch.Tensor, veils: torch.Tensor) -> None:
        """Readings `[B, 2]` of pictures masked with `[B, H, W]`."""
        f, b = values.T, (veils - self.chance).flatten(1)
        fresh = (f.sum(1), b.sum(0), (b * b).sum(0), f @ b, f @ (b * b), (f * f) @ (b * b))
        self.sums = [total + one for total, one in zip(self.sums, fresh)]
        self.count += len(values)

    def map(self) -> torch.Tensor:
        """Covariance of reading and mask over p `[2, H * W]`: the unbiased estimate of equation 6 less the mean reading."""
        f, b, _, fb, _, _ = self.sums
        return (fb - f[:, None] / self.count * b) / (self.count - 1) / self.chance

    def error(self) -> torch.Tensor:
        """Standard error of the map `[2, H * W]`, from how much the N products (f - mean of f) * b differ among each other."""
        f, b, b2, fb, fb2, f2b2 = self.sums
        mean = f[:, None] / self.count
        squares = f2b2 - 2 * mean * fb2 + mean**2 * b2
        spread = squares - (fb - mean * b) ** 2 / self.count
        return (spread.clamp(min=0) / (self.count * (self.count - 1))).sqrt() / self.chance

    def __add__(self, other: Sums) -> Sums:
        both = Sums(self.chance)
        both.sums, both.count = [one + two for one, two in zip(self.sums, other.sums)], self.count + other.count
        return both


def _answer(model: LoadedModel, pixels: torch.Tensor, target: int, before: torch.Tensor, halves: list[Sums]) -> Answer:
    label, whole = model.label(target), halves[0] + halves[1]
    probability, logit = whole.map().float().unflatten(1, pixels.shape[2:])
    error = whole.error()[0].float().view_as(probability)
    agreement = spearman(*(half.map()[0].cpu().numpy() for half in halves))
    mean = float(whole.sums[0][0]) / whole.count
    surpass = float((probability.abs() > 2 * error).float().mean())
    told = (
        f"{whole.count} masks; “{label}” has a probability of {mean:.3f} on average over the masked pictures. The maps of two halves of the masks "
        f"have a rank correlation of {agreement:.2f}; {100 * surpass:.0f} % of the pixels differ from zero by more than two standard errors."
    )
    if agreement < AGREE:
        told += " Much of this map is chance: take more masks, or a coarser grid."
    return Answer(
        Heatmap(probability, signed=True, unit="probability", caption=f"How much higher the probability of “{label}” is when a place shows"),
        Heatmap(logit, signed=True, unit="logit", caption=f"How much higher the logit of “{label}” is when a place shows"),
        Heatmap(error, unit="probability", caption="Standard error of the first map: so much of it may be chance"),
        Predictions.of(model, before[None]),
        Note(told),
    )
