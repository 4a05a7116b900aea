"""What the network loses when a square of the picture is covered: a high value where covering lowers the score of the
class, a negative one where covering raises it.

Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2: a grey square slides over the picture, and the probability of the
class is watched. Departures: they draw the probability itself at each place of the square; here each pixel gets the
mean drop over all squares that covered it (as in captum), so that the map has the size of the picture; logits are
shown beside probabilities, because a probability near 1 hides a loss; and other fills than grey may be chosen.

Covered pictures go through the network in batches. A coarse grid of squares comes first and is refined twice.
"""

from __future__ import annotations

import math
from typing import Annotated, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Note, Picture, Predictions, Range, Run, Sample, TargetClass, technique, torch
from techniques.base.batches import batch_size
from techniques.base.covering import Fill, Windows, fill_pixels, what_changed

PASSES = (4, 2, 1)  # every fourth square in both directions, then every second, then all


class Answer(NamedTuple):
    probability_drop: Heatmap
    logit_drop: Heatmap
    decisive: Picture
    predictions: Predictions
    note: Note


@technique(
    title="Occlusion",
    family="Covering",
    paper="arXiv:1311.2901",
    order=30,
    limits="It sees only what one square of this size can hide: a feature that appears twice seems unimportant, since the "
    "other copy stays. A covered picture is unlike any the network has learned from, so try a second fill and size.",
)
def occlusion(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    window: Annotated[int, Range(5, 60, 1, "% of the shorter side"), Help("Side of the square that covers the picture.")] = 20,
    stride: Annotated[int, Range(25, 100, 5, "% of the window"), Help("How far the square moves; smaller is finer and slower.")] = 50,
    fill: Fill = "grey",
) -> Answer:
    """Two signed maps `[H, W]`, the mean drop of the target's probability and of its logit while a pixel was covered;
    and the square that lowers the probability most, with the predictions before and after."""
    pixels = sample.pixels
    windows = Windows.over(pixels.shape[2:], window, stride)
    filling = fill_pixels(fill, pixels)
    with torch.no_grad():
        before = model.logits(pixels)[0]
        target = int(model.predicted(before)) if target is None else target
        after = before.new_zeros(*windows.counts, model.classes)
        for coarseness, positions, last in run.steps(_batches(windows.counts, batch_size(model)), "Batch of covered pictures"):
            rows, columns = zip(*positions)
            after[rows, columns] = model.logits(windows.covered(pixels, filling, positions))
            if last and coarseness > 1:
                run.show(lambda: _answer(sample, model, windows, filling, target, before, _filled_up(after, coarseness)))
    return _answer(sample, model, windows, filling, target, before, after)


def _batches(counts: tuple[int, int], size: int) -> list[tuple[int, list[tuple[int, int]], bool]]:
    """All positions, coarse grids first, as (coarseness, at most `size` positions, whether they end the pass)."""
    batches, done = [], set()
    for coarseness in PASSES:
        rows, columns = (range(0, count, coarseness) for count in counts)
        fresh = [(row, column) for row in rows for column in columns if (row, column) not in done]
        done.update(fresh)
        batches += [(coarseness, fresh[start : start + size], start + size >= len(fresh)) for start in range(0, len(fresh), size)]
    return batches


def _filled_up(values: torch.Tensor, coarseness: int) -> torch.Tensor:
    """`values` `[rows, columns, K]` where each square that is not done yet takes those of a neighbour that is."""
    rows, columns = (torch.arange(count) // coarseness * coarseness for count in values.shape[:2])
    return values[rows][:, columns]


def _answer(sample: Sample, model: LoadedModel, windows: Windows, filling, target: int, before: torch.Tensor, after: torch.Tensor) -> Answer:
    """The panels, from the logits before `[K]` and with each square covered `[rows, columns, K]`."""
    probability_drop = (model.shares(before) - model.shares(after))[..., target].cpu()
    logit_drop = (before - after)[..., target].cpu()
    position = divmod(int(probability_drop.argmax()), windows.counts[1])
    decisive, label = after[position], model.label(target)
    rows, columns = windows.place(*position)
    place = f"{windows.side} × {windows.side} px from row {rows.start}, column {columns.start}"
    origin = f"Most decisive square covered, of {sample.origin}"
    return Answer(
        Heatmap(windows.mean_map(probability_drop), signed=True, unit="probability", caption=f"Drop of the probability of “{label}”"),
        Heatmap(windows.mean_map(logit_drop), signed=True, unit="logit", caption=f"Drop of the logit of “{label}”"),
        Picture(windows.covered(sample.pixels, filling, [position])[0], label=origin, caption=f"Most decisive square: {place}"),
        Predictions.of(model, torch.stack([before, decisive]), ("before", "after"), "Predictions with the most decisive square covered"),
        Note(f"Of {math.prod(windows.counts)} squares the most decisive is {place}: {what_changed(model, target, before, decisive)}."),
    )
