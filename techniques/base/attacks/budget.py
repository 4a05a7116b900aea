"""How long an attack may search: the number of its steps or queries that a budget of passes pays for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from techniques.base.attacks.method import attack_pixels

if TYPE_CHECKING:
    from model_zoo.deferred import torch
    from model_zoo.loaded import LoadedModel
    from techniques.base.attacks.goal import Goal
    from techniques.base.parameters import Param
    from techniques.base.registry import Technique
    from techniques.base.run import Run

QUERIES = "queries"  # the setting of an attack that counts its own forward passes
LENGTHS = ("steps", "generations", "iterations")  # names of settings that say for how long an attack goes on


def affordable(
    technique: Technique, model: LoadedModel, pixels: torch.Tensor, goal: Goal, budget: int, settings: Mapping[str, Any], run: Run
) -> dict[str, int]:
    """The setting for how long the attack searches, with the value that a `budget` of passes per picture pays for; empty where it has none.

    Nothing says what a step costs, so one step and two steps are taken, on a picture `pixels` `[1, C, H, W]`, and counted. An attack
    whose second step is free, because it was done after the first, gets as many steps as the budget has passes.
    """
    queries = technique.param(QUERIES)
    if queries:
        return {QUERIES: _within(queries, budget)}
    steps = next(filter(None, map(technique.param, LENGTHS)), None)
    if not steps:
        return {}
    first, second = (
        _passes(technique, model, pixels, goal, budget, {**settings, steps.name: _within(steps, steps.range.low + more)}, run) for more in (0, 1)
    )
    rest = max(0, budget - first)
    return {steps.name: _within(steps, steps.range.low + rest // max(1, second - first))}


def _passes(technique: Technique, model: LoadedModel, pixels: torch.Tensor, goal: Goal, budget: int, settings: dict[str, Any], run: Run) -> int:
    found = attack_pixels(technique, model, pixels, goal, run, budget=budget, **settings)
    return found.forward + found.backward


def _within(param: Param, number: float) -> int:
    return int(min(max(number, param.range.low), param.range.high))
