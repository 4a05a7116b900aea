"""Whether a map adds up to what it explains: the logit of the picture less that of a baseline it was compared with."""

from __future__ import annotations

from typing import Annotated

from techniques.base.covering import FillOrNoise
from techniques.base.parameters import Help

Baseline = Annotated[
    FillOrNoise,
    Help("What the picture is compared with, standing for nothing to see: black, white, even grey, its mean colour, itself blurred, or noise."),
]
CLOSE, FAR = 0.05, 0.25  # shares of the difference: an error below the first is small, one above the second spoils the map


def completeness(total: float, picture: float, baseline: float, label: str, name: str, cause: str) -> str:
    """Two sentences: what the map adds up to, and how far that is from the difference of the two logits.

    `name` says which baseline, `cause` why the two may differ; it is told where they do.
    """
    difference = picture - baseline
    error = abs(total - difference) / max(abs(difference), 1e-6)
    adds = f"The map adds up to {total:.3f}; the logit of “{label}” is {picture:.3f} here and {baseline:.3f} for the {name}, {difference:.3f} apart"
    share = f"{100 * error:.2g} %" if error < 10 else f"{error:.0f} times the difference"
    if error < CLOSE:
        return f"{adds}: an error of {share}."
    verdict = "read it with caution" if error < FAR else "it does not account for the answer, so do not rely on its numbers"
    return f"{adds}: an error of {share}. {cause}; {verdict}."
