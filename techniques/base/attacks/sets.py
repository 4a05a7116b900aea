"""Attacks on sets of pictures: what counts as the right answer for each, and what an attack is told to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model_zoo.deferred import torch
from techniques.base.attacks.goal import Goal

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.attacks.method import Method


def right_classes(model: LoadedModel, groups: Sequence[str], logits: torch.Tensor) -> torch.Tensor:
    """For pictures with these logits `[B, K]` the class that their group names, else the one that is predicted; int `[B]`."""
    named = model.labels[: model.named]
    known = [named.index(group) if group in named else int(predicted) for group, predicted in zip(groups, model.predicted(logits))]
    return torch.tensor(known, device=logits.device)


def is_right(model: LoadedModel, classes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Whether these classes are what the model answers, bool `[B]`."""
    return ~Goal(classes, False, multi_label=model.multi_label).reached(logits)


def goal_against(method: Method, model: LoadedModel, classes: torch.Tensor, logits: torch.Tensor, target: int | None, loss: str | None) -> Goal:
    """Away from the right `classes` `[B]` of pictures with these logits, whether or not they are predicted; towards the target where there
    is one, and towards the runner-up where the method needs one."""
    if target is not None or method.aims:
        return method.goal(model, logits, target, loss)
    return Goal(classes, False, loss or method.loss, model.multi_label)
