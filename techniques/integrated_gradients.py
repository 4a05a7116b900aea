"""Which pixels make the difference between this picture and one with nothing to see: positive values raised the score of
the class, negative ones lowered it, and together they add up to the difference.

Integrated gradients: Sundararajan, Taly and Yan 2017, arXiv:1703.01365, section 3, equation 1: (x - x0) times the mean
gradient on the straight way from the baseline x0 to the picture x. Departures: the mean is taken in the middles of equal
steps, not at their ends, which has a smaller error; the colour channels are summed; and baselines other than black may be
chosen, since a pixel like the baseline gets nothing. How far the map is from adding up (completeness, proposition 1) is told.

The points come in an order in which any beginning of them is spread over the whole way: a first map is shown early.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from techniques.base import Curve, Heatmap, Help, LoadedModel, Note, Picture, Range, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.attributions import Baseline, attribution_maps, completeness
from techniques.base.covering import fill_pixels
from techniques.base.gradients import batches, gradients_of


class Answer(NamedTuple):
    integrated_gradients: Heatmap
    averaged: Heatmap
    path: Curve
    baseline: Picture | None
    note: Note


@technique(
    title="Integrated gradients",
    family="Pixels",
    paper="arXiv:1703.01365",
    order=30,
    limits="Everything is told against one baseline, and another one tells another story: pixels of the baseline's own colour get nothing, "
    "however much they matter. The pictures on the way are pale or mixed ones, such as the network has never learned from.",
)
def integrated_gradients(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    baseline: Baseline = "black",
    steps: Annotated[int, Range(5, 300, 1, "points"), Help("How many points on the way; more add up better and take longer.")] = 50,
    seed: Seed = 0,
) -> Answer:
    """Signed map `[H, W]` in logits, and averaged over surroundings; the logit at every point of the way; the baseline `[C, H, W]` where
    it is not of one colour; how well the map adds up."""
    pixels, start = sample.pixels, fill_pixels(baseline, sample.pixels, seed)
    run.check()
    with torch.no_grad():
        ends = model.logits(torch.cat([start, pixels]))
    target = int(model.predicted(ends[1])) if target is None else target
    label, (before, after) = model.label(target), ends[:, target].tolist()
    order = sorted(range(steps), key=lambda number: f"{number:09b}"[::-1])
    total, logits = torch.zeros_like(pixels), {0.0: before, 1.0: after}

    def shown(done: int) -> Answer:
        found = (pixels - start) * total / done
        caption = f"What raised (positive) and lowered (negative) the logit of “{label}” on the way from {baseline}"
        way = sorted(logits)
        return Answer(
            *attribution_maps(found, caption),
            Curve(torch.tensor(way), {label: torch.tensor([logits[share] for share in way])}, "share of the way to the picture", "logit"),
            Picture(start[0], label=f"Baseline ({baseline}), of {sample.origin}", caption="The baseline") if baseline in ("blur", "noise") else None,
            Note(completeness(float(found.sum()), after, before, label, f"{baseline} baseline", "Take more steps")),
        )

    for number, batch in enumerate(run.steps(batches(model, steps), "Batch of points on the way"), 1):
        shares = [(order[position] + 0.5) / steps for position in batch]
        ways = torch.tensor(shares).view(-1, 1, 1, 1).to(pixels)
        along, gradients = gradients_of(model, start + ways * (pixels - start), target)
        total += gradients.sum(0)
        logits.update(zip(shares, along.tolist()))
        if batch.stop < steps and number.bit_count() == 1:
            run.show(lambda: shown(batch.stop))
    return shown(steps)
