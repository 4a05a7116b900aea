"""What a walk claims, looked up in what its steps answer. Each claim is an entry of a step's "claims":

{"panel": "predictions", "row": 1, "label": "8", "percent": 46, "first": true}   within one percent; "first": the most probable
{"panel": "predictions", "row": 0, "label": "0", "more_than_percent": 99.9}
{"array": "layers.average", "at": "conv1", "value": 12.9}                         a line of a curve at one of its ticks
{"array": "layers.average", "largest_at": "conv1.3"}
{"array": "grad_cam.8/1", "mean": 0.17}                                           arrays are named as in arrays.npz
{"array": "grad_cam.church", "brighter_in": [0.1, 0.8, 0.1, 0.7], "than_in": [0, 1, 0.75, 1]}   top, bottom, left, right
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from techniques.base import Curve, Predictions
from techniques.base.results import all_arrays, panels

PERCENT = 1.0  # percentage points; networks of this size differ by hundredths between processors
SHARE = 0.05  # of a number that is no percentage, and never less than a unit of its last digit in the text


def failure(claim: Mapping[str, Any], answer: Any) -> str | None:
    """Why a claim does not hold for an answer; None when it does. A claim that cannot be understood is an error."""
    if set(claim) & {"percent", "more_than_percent"}:
        return _of_class(claim, panels(answer)[claim["panel"]])
    values = np.asarray(all_arrays(answer)[claim["array"]], dtype=float)
    if "value" in claim:
        found = float(values[_curve(claim, answer).ticks.index(claim["at"])])
        return None if _close(found, claim["value"]) else f"{claim}: it is {found:.3g}"
    if "largest_at" in claim:
        found = _curve(claim, answer).ticks[int(values.argmax())]
        return None if found == claim["largest_at"] else f"{claim}: it is {found}"
    if "mean" in claim:
        return None if _close(float(values.mean()), claim["mean"]) else f"{claim}: it is {values.mean():.3g}"
    bright, other = (float(_part(values, claim[name]).mean()) for name in ("brighter_in", "than_in"))
    return None if bright > 2 * other else f"{claim}: {bright:.3g} is not twice as much as {other:.3g}"


def numbers(claim: Mapping[str, Any]) -> list[float]:
    """The numbers that a text may name on the ground of this claim."""
    return [claim[name] for name in ("percent", "more_than_percent", "value", "mean") if name in claim]


def _of_class(claim: Mapping[str, Any], predictions: Predictions) -> str | None:
    row, label = claim["row"], claim["label"]
    found = 100 * float(predictions.probabilities[row][predictions.labels.index(label)])
    if claim.get("first") and predictions.top(1, row)[0][1] != label:
        return f"{claim}: the most probable class is {predictions.top(1, row)[0][1]}"
    if "more_than_percent" in claim:
        return None if found > claim["more_than_percent"] else f"{claim}: it is {found:.4g} %"
    return None if abs(found - claim["percent"]) <= PERCENT else f"{claim}: it is {found:.1f} %"


def _curve(claim: Mapping[str, Any], answer: Any) -> Curve:
    return panels(answer)[claim["array"].partition(".")[0]]


def _close(found: float, said: float) -> bool:
    digits = len(str(said).partition(".")[2])
    return abs(found - said) <= max(SHARE * abs(said), 10.0**-digits)


def _part(values: np.ndarray, part: list[float]) -> np.ndarray:
    (height, width), (top, bottom, left, right) = values.shape, part
    return values[round(top * height) : round(bottom * height), round(left * width) : round(right * width)]
