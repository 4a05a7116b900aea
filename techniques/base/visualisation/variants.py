"""Settings of a climb side by side: each variant changes some of those that were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from model_zoo.errors import ParameterError
from techniques.base.parameters import Help, Param, Several
from techniques.base.visualisation.climb import Climb

AS_SET = "as set"
VARIANTS = {
    AS_SET: "As set",
    "learning_rate=0.01": "Learning rate 0.01",
    "learning_rate=0.2": "Learning rate 0.2",
    "l2=0.5": "L2 0.5",
    "l2=2": "L2 2",
    "total_variation=0.1": "Total variation 0.1",
    "total_variation=0.5": "Total variation 0.5",
    "blur_every=4": "A blur every 4 steps",
    "jitter=0 rotation=0 scale=0": "Seen in one view only",
    "decorrelated=no": "Plain colours",
    "fourier=no": "Pixels instead of waves",
    "fourier=no decorrelated=no jitter=0 rotation=0 scale=0": "Nothing but the gradient",
}
FLAGS = {"yes": True, "true": True, "no": False, "false": False}

Variants = Annotated[
    tuple[str, ...],
    Several(lambda: VARIANTS, "or changes of these settings, such as l2=0.1 jitter=2"),
    Help("Settings to be compared side by side; “As set” is what the controls say."),
]


def climbs(chosen: Sequence[str], climb: Climb, params: Sequence[Param]) -> dict[str, Climb]:
    """The climb that each variant asks for, by the variant's title; `params` says what each setting may be.

    Raises ParameterError for a change that is none, or of what cannot be compared.
    """
    allowed = {param.name: param for param in params if hasattr(climb, param.name) and param.name != "steps"}
    found = {}
    for text in chosen:
        changes = {} if text == AS_SET else dict(_change(part, allowed) for part in text.split())
        found[VARIANTS.get(text, text)] = replace(climb, **changes)
    return found


def _change(text: str, allowed: dict[str, Param]) -> tuple[str, float | int | bool]:
    name, equals, value = text.partition("=")
    if not equals or name not in allowed:
        raise ParameterError(f"Beside: received {text[:60]!r}, expected a change such as l2=0.1, of one of {', '.join(allowed)}.")
    param = allowed[name]
    try:
        given = FLAGS.get(value.lower(), value) if param.kind == "flag" else float(value)
    except ValueError:
        given = value
    return name, param.check(given, None)
