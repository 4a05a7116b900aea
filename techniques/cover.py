"""What the network says when part of the picture is covered by hand: paint over what you believe it looks at, and see
whether it changes its mind.

Occlusion by hand, after Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2, who slide a grey square; covering what
Grad-CAM marks is the usual check of a heat map. Departure: any painted shape, and other fills than grey, because
what covers the picture is itself seen by the network.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import LoadedModel, Mask, Note, Picture, Predictions, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.covering import FillOrNoise, fill_pixels, what_changed


class Answer(NamedTuple):
    covered: Picture
    predictions: Predictions
    note: Note


@technique(
    title="Cover by hand",
    family="Where it looks",
    paper="arXiv:1311.2901",
    order=40,
    limits="A cover is a thing of its own: its edges and its colour are seen, too, and a picture with a hole is unlike any "
    "the network has learned from. Compare two fills before you believe that the part underneath decided.",
)
def cover(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    mask: Mask = None,
    fill: FillOrNoise = "grey",
    seed: Seed = 0,
) -> Answer:
    """The picture `[C, H, W]` in `[0, 1]` with the painted area replaced, and the predictions before and after.

    `mask` spans the picture as the model sees it, at any resolution; nearest neighbours bring it to the model's.
    """
    painted = _painted(mask, sample.pixels)
    covered = torch.where(painted, fill_pixels(fill, sample.pixels, seed), sample.pixels)
    with torch.no_grad():
        logits = model.logits(torch.cat([sample.pixels, covered]))
    before, after = logits
    target = int(model.predicted(before)) if target is None else target
    share = f"{100 * float(painted.float().mean()):.0f} % of the picture"
    return Answer(
        Picture(covered[0], label=f"Covered with {fill}, of {sample.origin}", caption=f"{share} covered with {fill}"),
        Predictions.of(model, logits, ("before", "after")),
        Note(f"With {share} covered, {what_changed(model, target, before, after)}."),
    )


def _painted(mask, pixels: torch.Tensor) -> torch.Tensor:
    """Where to cover, bool `[1, 1, H, W]`; without a mask the middle, half as high and half as wide as the picture."""
    height, width = pixels.shape[2:]
    if mask is None:
        painted = torch.zeros(1, 1, height, width, dtype=torch.bool, device=pixels.device)
        painted[..., height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        return painted
    painted = torch.as_tensor(mask, device=pixels.device)[None, None].float()
    return torch.nn.functional.interpolate(painted, (height, width), mode="nearest-exact") > 0
