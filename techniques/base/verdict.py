"""What the readings of a heat map come to, in plain words. Every threshold stands here.

That of scrambled weights was chosen on ten photographs of Imagenette and the pictures that come with Loupe, with the bundled network: the
mean likeness over the stages up to half of the layers was at least 0.69 for guided backpropagation, from 0.33 to 0.56 for the plain
gradient, at most 0.35 for Grad-CAM. Later stages count for nothing: with the filters of the first layers gone every map becomes another, that
of guided backpropagation, too. The other thresholds say only what is large and what is small; nothing was tuned to them.
"""

from __future__ import annotations

import numpy as np

from techniques.base.drawing.svg import percent
from techniques.base.trust import Readings, gain

SAME = 0.62  # mean likeness over the stages up to half of the layers from which a map "barely changes" when these are scrambled ...
PARTLY = 0.4  # ... and from which part of it stays
MOVED = 0.9  # likeness below which a map depends on the zero point of the pixels
SHAKEN = 0.5  # relative change by noise that nobody sees from which a map is not steady, and by another seed, too
BETTER, WORSE = 0.1, 0.0  # gain over the same map elsewhere from which a map marks what decides; up to which it does not
KEPT = 0.5  # share of the probability that a picture with every pixel filled keeps, from which the curves say nothing
LITTLE = 0.9  # share of the change that is not explained from which little is explained


def flagged(known: Readings) -> bool:
    """Whether the map barely changes when the weights are scrambled."""
    return known.scrambling is not None and likeness(known) >= SAME


def likeness(known: Readings) -> float:
    """The mean likeness over the stages in which at most half of the layers, from the head down, are scrambled."""
    found = known.scrambling
    half = [like for like, count in zip(found.likeness, found.counts) if count == 1 or 2 * count <= found.of + 1]
    return float(np.mean(half))


def verdict(title: str, known: Readings) -> str:
    """What has been found out so far about a map of the technique with this title; the gravest first."""
    if not np.any(known.map.values):
        return f"{title} is zero everywhere here: there is no map to trust."
    parts = [_scrambling(title, known), _curves(known), _noise(known), _shift(known), _infidelity(known)]
    return " ".join(filter(None, parts)) or f"{title} is being measured."


def _scrambling(title: str, known: Readings) -> str:
    if known.scrambling is None:
        return ""
    share = f"(likeness {likeness(known):.2f} on average)"
    if likeness(known) >= SAME:
        return f"{title} barely changes when the weights are scrambled {share}: do not trust it. It shows the picture, not what was learned."
    if likeness(known) >= PARTLY:
        return f"Part of {title} stays when the weights are scrambled {share}: that part shows the picture, not what the network has learned."
    return f"{title} changes when the weights are scrambled {share}, as it should."


def _curves(known: Readings) -> str:
    if known.curves is None:
        return ""
    start, end = known.curves.deletion[[0, -1]]
    if end >= KEPT * start:
        return f"With every pixel filled the class has still {percent(end)}: deletion and insertion say nothing here, choose another fill."
    if gain(known.curves) >= BETTER:
        return "What it marks decides more than what the same map marks at another place."
    if gain(known.curves) <= WORSE:
        return "What it marks decides no more than what the same map marks at another place."
    return "What it marks decides hardly more than what the same map marks at another place."


def _noise(known: Readings) -> str:
    if known.noise is None:
        return ""
    worst = max(known.noise.changes)
    shaken = "changes much" if worst >= SHAKEN else "changes little"
    told = f"It {shaken} under noise that nobody sees (up to {percent(worst)})."
    if known.noise.reseeded is not None and known.noise.reseeded >= SHAKEN:
        told += f" Another seed gives another map (by {percent(known.noise.reseeded)}): take more samples."
    return told


def _shift(known: Readings) -> str:
    if known.shift is None or known.shift.likeness >= MOVED:
        return ""
    return "It depends on which number stands for black, though the answers do not: read it relative to that."


def _infidelity(known: Readings) -> str:
    if known.infidelity is None or known.infidelity < LITTLE:
        return ""
    return f"It explains only {percent(1 - known.infidelity)} of what filling squares of the picture does to the logit."
