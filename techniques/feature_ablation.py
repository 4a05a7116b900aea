"""What the network loses when one segment of the picture is hidden: a high value where hiding it lowers the score of the
class, a negative one where hiding it raises it. Unlike a sliding square, a segment follows what is seen.

Removing one group of features at a time is as old as the question; for pictures: Zeiler and Fergus 2014, arXiv:1311.2901,
section 4.2, with squares. With segments (superpixels) in place of squares, and the drop of the score as the value of each, it
is what captum calls feature ablation, with whose numbers these agree. Departures from Zeiler and Fergus: segments, and the
drop of the logit beside that of the probability, because a probability near 1 hides a loss.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from techniques.base import Heatmap, LoadedModel, Note, Picture, Predictions, Run, Sample, Table, TargetClass, technique, torch
from techniques.base.covering import Fill, fill_pixels, what_changed
from techniques.base.segments import Count, Cut, Segments, Shown, ask, readings


class Answer(NamedTuple):
    probability_drop: Heatmap
    logit_drop: Heatmap
    segments: Picture
    decisive: Picture
    predictions: Predictions
    table: Table
    note: Note


@technique(
    title="Feature ablation",
    family="Covering",
    paper="arXiv:1311.2901",
    order=31,
    limits="It hides one segment at a time: where two show the same, hiding either costs little, and both seem unimportant. Segments are "
    "of different sizes, and a large one takes more with it. Another cut gives another map; so does another fill.",
)
def feature_ablation(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    cut: Cut = "slic",
    segments: Count = 50,
    shown: Shown = 5,
    fill: Fill = "grey",
) -> Answer:
    """Two signed maps `[H, W]`, the drop of the target's probability and of its logit while the segment of a pixel was hidden;
    the segments; and the one that lowers the probability most, with the predictions before and after."""
    pixels = sample.pixels
    parts, filling = Segments.of(pixels, cut, segments), fill_pixels(fill, pixels)
    run.check()
    with torch.no_grad():
        before = model.logits(pixels)[0]
        target = int(model.predicted(before)) if target is None else target
        alone = readings(model, before, target)

        def answer(after: np.ndarray) -> Answer:
            """From the readings `[n, 2]` of the segments that were hidden so far; the others have no drop yet."""
            drops = np.zeros((parts.count, 2))
            drops[: len(after)] = alone - after
            return _answer(sample, model, parts, filling, target, before, drops, shown)

        kept = ~torch.eye(parts.count, dtype=torch.bool)
        return answer(ask(model, run, pixels, filling, parts, kept, target, lambda after: run.show(lambda: answer(after))))


def _answer(sample: Sample, model: LoadedModel, parts: Segments, filling, target: int, before: torch.Tensor, drops: np.ndarray, shown: int) -> Answer:
    """The panels, from the drops of probability and logit `[segments, 2]`."""
    label, (by_probability, by_logit) = model.label(target), drops.T
    decisive = int(by_probability.argmax())
    kept = torch.arange(parts.count)[None] != decisive
    picture = parts.hidden(sample.pixels, filling, kept)
    after = model.logits(picture)[0]
    strongest = parts.strongest(by_probability, shown)
    sizes = parts.labels.flatten().bincount(minlength=parts.count).tolist()
    rows = [(rank, parts.told(one), sizes[one], *map(float, drops[one])) for rank, one in enumerate(strongest, 1)]
    changed = what_changed(model, target, before, after)
    return Answer(
        parts.heatmap(by_probability, "probability", f"Drop of the probability of “{label}” when the segment is hidden"),
        parts.heatmap(by_logit, "logit", f"Drop of the logit of “{label}” when the segment is hidden"),
        parts.drawn(sample.pixels, by_probability, strongest, f"{parts.count} segments; red ones speak for “{label}”, blue ones against it"),
        Picture(picture[0], label=f"Most decisive segment hidden, of {sample.origin}", caption="The most decisive segment is hidden"),
        Predictions.of(model, torch.stack([before, after]), ("before", "after"), "Predictions with the most decisive segment hidden"),
        Table(("number", "place", "pixels", "drop of probability", "drop of logit"), tuple(rows) or (("-", "no segment matters", 0, 0.0, 0.0),)),
        Note(f"Of {parts.count} segments the most decisive is the one at {parts.told(decisive)}: {changed}."),
    )
