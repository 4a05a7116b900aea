"""What LIME and Kernel SHAP have in common: a linear stand-in for the network, fitted to its answers for a picture of which
segments are hidden at random; several times over with other random numbers, so that its spread is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np

from model_zoo.deferred import torch
from techniques.base.covering import fill_pixels, what_changed
from techniques.base.parameters import Help, Range
from techniques.base.results import Heatmap, Picture, Predictions, Table
from techniques.base.segments import Segments, ask, readings
from techniques.base.spread import told

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run
    from techniques.base.sample import Sample

Samples = Annotated[int, Range(50, 4000, 50, "pictures"), Help("Pictures with hidden segments in each repeat; more are surer and slower.")]
Repeats = Annotated[int, Range(2, 10, 1, "repeats"), Help("How often all is done anew with other random numbers; the maps are the mean.")]

READINGS = ("probability", "logit")


class Explained(NamedTuple):
    """One picture that is explained, and what is known before any segment is hidden.

    `whole` and `empty` are probability and logit `[2]` of the class for the picture, and for the filling alone; `varied` are the
    numbers of the segments that are hidden in turn. A segment that looks like the filling changes nothing when it is hidden: its
    weight is zero, and it is left out (unless fewer than two would remain).
    """

    sample: Sample
    model: LoadedModel
    segments: Segments
    filling: torch.Tensor
    target: int
    logits: torch.Tensor
    whole: np.ndarray
    empty: np.ndarray
    varied: np.ndarray

    @classmethod
    def of(cls, sample: Sample, model: LoadedModel, run: Run, target: int | None, cut: str, count: int, fill: str) -> Explained:
        segments, filling = Segments.of(sample.pixels, cut, count), fill_pixels(fill, sample.pixels)
        run.check()
        logits = model.logits(torch.cat([sample.pixels, filling]))
        target = int(model.predicted(logits[0])) if target is None else target
        differs = (sample.pixels != filling).any(1)[0].flatten()
        varied = (segments.labels.flatten()[differs].bincount(minlength=segments.count) > 0).nonzero()[:, 0].cpu().numpy()
        varied = varied if len(varied) > 1 else np.arange(segments.count)
        return cls(sample, model, segments, filling, target, logits[0], *readings(model, logits, target), varied)

    @property
    def label(self) -> str:
        return self.model.label(self.target)

    def ask(self, run: Run, kept: np.ndarray, see: Callable[[np.ndarray], None]) -> np.ndarray:
        """Probability and logit `[N, 2]` of the picture with only the `kept` ones `[N, V]` of the varied segments; see `segments.ask`."""
        everywhere = np.ones((len(kept), self.segments.count), bool)
        everywhere[:, self.varied] = kept
        return ask(self.model, run, self.sample.pixels, self.filling, self.segments, torch.from_numpy(everywhere), self.target, see)


class Panels(NamedTuple):
    """What both methods show."""

    probability: Heatmap
    logit: Heatmap
    spread: Heatmap | None
    segments: Picture
    strongest_alone: Picture | None
    predictions: Predictions
    table: Table


def panels(explained: Explained, fits: np.ndarray, shown: int, meaning: str) -> Panels:
    """The panels for weights `[R, V, 2]` of the varied segments in R repeats; with one repeat only, there is no spread.

    `meaning` is what a weight is, the beginning of a caption.
    """
    segments, varied = explained.segments, fits
    fits = np.zeros((len(varied), segments.count, 2))
    fits[:, explained.varied] = varied
    mean = fits.mean(0)
    strongest = segments.strongest(mean[:, 0], shown)
    speaking = segments.strongest(mean[:, 0].clip(min=0), shown)
    alone = segments.hidden(explained.sample.pixels, explained.filling, torch.isin(torch.arange(segments.count), torch.tensor(speaking))[None])
    logits, names = torch.cat([explained.logits[None], explained.model.logits(alone)]), ("the picture", "only these segments")
    caption = f"{meaning} the {{}} of “{explained.label}”" + (f", mean of {len(fits)} repeats" if len(fits) > 1 else "")
    spread = fits.std(0, ddof=1) if len(fits) > 1 else None
    idle = segments.count - len(explained.varied)
    count = f"{segments.count} segments" + (f", {idle} of them like the filling and without weight" if idle else "")
    only = f"Only what speaks most for “{explained.label}”: {len(speaking)} of {segments.count} segments"
    return Panels(
        *(segments.heatmap(mean[:, number], unit, caption.format(unit)) for number, unit in enumerate(READINGS)),
        None if spread is None else segments.heatmap(spread[:, 0], READINGS[0], "Standard deviation of the first map over the repeats", signed=False),
        segments.drawn(explained.sample.pixels, mean[:, 0], strongest,
                       f"{count}; of the numbered ones red speak for “{explained.label}”, blue against it"),
        Picture(alone[0], label=f"{only}, of {explained.sample.origin}", caption=only) if speaking else None,
        Predictions.of(explained.model, logits, names, "Predictions of the picture and of the segments that speak most for it, alone"),
        _table(segments, mean, spread, strongest),
    )  # fmt: skip


def _table(segments: Segments, mean: np.ndarray, spread: np.ndarray | None, strongest: list[int]) -> Table:
    """The strongest segments with mean and standard deviation over the repeats of both readings."""
    measures = {"mean": mean} if spread is None else {"mean": mean, "standard deviation": spread}
    columns = [f"{unit}, {name}" if spread is not None else unit for unit in READINGS for name in measures]
    rows = []
    for number, one in enumerate(strongest, 1):
        numbers = [float(values[one, reading]) for reading in range(len(READINGS)) for values in measures.values()]
        rows.append((number, segments.told(one), *numbers))
    return Table(("number", "place", *columns), tuple(rows) or ((0, "no segment matters", *[0.0] * len(columns)),))


def stability(fits: np.ndarray, shown: int) -> str:
    """How far the repeats `[R, V, 2]` agree on the first reading, in plain words."""
    return told(fits[..., 0], shown, "take more pictures per repeat, or fewer segments, before you believe which comes first")


def check_alone(explained: Explained, shown: Panels) -> str:
    """What the network says of the segments that speak most for the class, alone."""
    if shown.strongest_alone is None:
        return f"No segment speaks for “{explained.label}”."
    before, after = (torch.as_tensor(row) for row in shown.predictions.logits)
    return f"With only what speaks most for it, {what_changed(explained.model, explained.target, before, after)}."
