"""Maps that share out a difference of logits among the pixels: the logit of the picture less that of a baseline it was
compared with; how they are shown, and whether they add up to it (completeness).

Such a map is full of neighbours with opposite signs, which the eye cannot weigh against each other. So it is shown as it
is, and once more with each pixel's surroundings averaged, where what prevails in a place remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from techniques.base.covering import FillOrNoise, blurred
from techniques.base.parameters import Help
from techniques.base.results import Heatmap

if TYPE_CHECKING:
    import torch

Baseline = Annotated[
    FillOrNoise,
    Help("What the picture is compared with, standing for nothing to see: black, white, even grey, its mean colour, itself blurred, or noise."),
]
CLOSE, FAR = 0.05, 0.25  # shares of the difference: an error below the first is small, one above the second spoils the map
SURROUNDINGS = 0.03  # standard deviation of the weights, as a share of the shorter side


def attribution_maps(shares: torch.Tensor, caption: str) -> tuple[Heatmap, Heatmap]:
    """The shares of the pixels `[1, C, H, W]` as a signed map `[H, W]`, summed over the channels, and the same averaged."""
    values = shares.sum(1, keepdim=True)
    deviation = SURROUNDINGS * min(values.shape[2:])
    told = f"The same with each pixel's surroundings averaged (Gaussian, standard deviation {deviation:.1f} px): what prevails in a place"
    return (
        Heatmap(values[0, 0], signed=True, unit="logit", caption=caption),
        Heatmap(blurred(values, deviation)[0, 0], signed=True, unit="logit per pixel", caption=told),
    )


def completeness(total: float, picture: float, baseline: float, label: str, name: str, cause: str) -> str:
    """Two sentences: what the map adds up to, and how far that is from the difference of the two logits.

    `name` says which baseline, `cause` why the two may differ; it is told where they do.
    """
    difference = picture - baseline
    error = abs(total - difference) / max(abs(difference), 1e-6)
    adds = f"The map adds up to {total:.3f}; the logit of “{label}” is {picture:.3f} here and {baseline:.3f} for the {name}, {difference:.3f} apart"
    share = f"{100 * error:.3g} %" if error < 10 else f"{error:.0f} times the difference"
    if error < CLOSE:
        return f"{adds}: an error of {share}."
    verdict = "read it with caution" if error < FAR else "it does not account for the answer, so do not rely on its numbers"
    return f"{adds}: an error of {share}. {cause}; {verdict}."
