"""Attacks on sets of pictures: what counts as the right answer for each, what an attack is told to do about it, and batches that are
remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_zoo.deferred import torch
from techniques.base.attacks.ball import distance
from techniques.base.attacks.goal import Goal
from techniques.base.attacks.memory import MEMORY, Found, question
from techniques.base.attacks.method import attack_pixels
from techniques.base.models_at_hand import same_class

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.attacks.method import Method
    from techniques.base.registry import Technique
    from techniques.base.run import Run


def right_classes(model: LoadedModel, groups: Sequence[str], logits: torch.Tensor) -> torch.Tensor:
    """For pictures with these logits `[B, K]` the class that their group names, else the one that is predicted; int `[B]`."""
    known = zip((same_class(model, group) for group in groups), model.predicted(logits).tolist())
    return torch.tensor([predicted if named is None else named for named, predicted in known], device=logits.device)


def is_right(model: LoadedModel, classes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Whether these classes are what the model answers, bool `[B]`."""
    return ~Goal(classes, False, multi_label=model.multi_label).reached(logits)


def goal_against(method: Method, model: LoadedModel, classes: torch.Tensor, logits: torch.Tensor, target: int | None, loss: str | None) -> Goal:
    """Away from the right `classes` `[B]` of pictures with these logits, whether or not they are predicted; towards the target where there
    is one, and towards the runner-up where the method needs one."""
    if target is not None or method.aims:
        return method.goal(model, logits, target, loss)
    return Goal(classes, False, loss or method.loss, model.multi_label)


@dataclass(frozen=True, eq=False)
class Batches:
    """One attack with its settings on batches of pictures, each with the same seed. What is found is remembered, and not looked for again."""

    technique: Technique
    model: LoadedModel
    settings: Mapping[str, Any]
    target: int | None
    seed: int

    def attack(self, pixels: torch.Tensor, groups: Sequence[str], shown: int, run: Run) -> tuple[torch.Tensor, list[Found], bool]:
        """For pictures `[B, C, H, W]` of these groups their right classes `[B]`, what was found for each, the first `shown` with their attacked
        pictures, and whether that was remembered.

        A batch is remembered as a whole or attacked as a whole: its random numbers are then those of a run that was never stopped.
        """
        run.check()
        with torch.no_grad():
            clean = self.model.logits(pixels)
        right = right_classes(self.model, groups, clean)
        asked = self.technique.name, tuple(sorted(self.settings.items())), self.target, self.seed
        keys = [question(self.model, picture, (*asked, int(index))) for picture, index in zip(pixels, right)]
        kept = [MEMORY.find(key, before) for key, before in zip(keys, clean.cpu())]
        if all(found and (found.attacked is not None or place >= shown) for place, found in enumerate(kept)):
            return right, kept, True
        goal = goal_against(self.technique.attack, self.model, right, clean, self.target, self.settings.get("loss"))
        outcome = attack_pixels(self.technique, self.model, pixels, goal, run, seed=self.seed, **self.settings)
        run.check()
        with torch.no_grad():
            noisy = self.model.logits(outcome.noise)
        change = outcome.pixels - pixels
        columns = (
            *(logits.cpu().clone() for logits in (clean, outcome.logits, noisy)),
            *(values.tolist() for values in (outcome.reached, distance(change, "l2"), 255 * distance(change, "linf"))),
            *([passes / len(pixels)] * len(pixels) for passes in (outcome.forward, outcome.backward)),
            [picture.cpu().clone() if place < shown else None for place, picture in enumerate(outcome.pixels)],
        )
        kept = [Found(*row) for row in zip(*columns)]
        for key, found in zip(keys, kept):
            MEMORY.keep(key, found)
        return right, kept, False
