"""What an attack wants, and how near each picture is to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from model_zoo.deferred import torch
from techniques.base.parameters import Help

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

Loss = Annotated[
    Literal["cross-entropy", "margin"],
    Help("What is climbed: the cross-entropy of the class, or its margin over the others, which has a gradient even where the model is very sure."),
]


@dataclass(frozen=True, eq=False)
class Goal:
    """What an attack wants: towards `classes` `[B]` when `targeted`, otherwise away from them. `loss` is what it climbs: a `Loss`, or
    "logit", the class's own logit, whatever the others do."""

    classes: torch.Tensor
    targeted: bool
    loss: str = "cross-entropy"
    multi_label: bool = False

    def gain(self, logits: torch.Tensor) -> torch.Tensor:
        """How near each picture is to the goal, `[B]`, more being better: cross-entropy in nats, or margin or logit in logits."""
        if self.loss == "margin":
            return self.margin(logits)
        logits, own = self._rivals(logits)
        scores = logits if self.loss == "logit" else logits.log_softmax(1)
        confidence = scores.gather(1, own).squeeze(1)
        return confidence if self.targeted else -confidence

    def margin(self, logits: torch.Tensor) -> torch.Tensor:
        """By how much each picture is past its goal, in logits `[B]`: above zero where it is reached."""
        logits, own = self._rivals(logits)
        others = logits.scatter(1, own, -torch.inf).amax(1)
        confidence = logits.gather(1, own).squeeze(1) - others
        return confidence if self.targeted else -confidence

    def reached(self, logits: torch.Tensor) -> torch.Tensor:
        """Whether each picture is at the goal, bool `[B]`."""
        logits, own = self._rivals(logits)
        return (logits.argmax(1) == own.squeeze(1)) == self.targeted

    def of(self, pictures: int | torch.Tensor) -> Goal:
        """The same for one picture of the batch, or for those that a mask `[B]` or their numbers `[N]` choose, one of them perhaps several times."""
        chosen = slice(pictures, pictures + 1) if isinstance(pictures, int) else pictures
        return Goal(self.classes[chosen], self.targeted, self.loss, self.multi_label)

    def repeated(self, count: int) -> Goal:
        """The goal for `count` versions of every picture, all pictures in their first version first."""
        return Goal(self.classes.repeat(count), self.targeted, self.loss, self.multi_label)

    def _rivals(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of all that compete, and the column of each picture's class `[B, 1]`: all classes, or a label and its opposite."""
        own = self.classes.view(-1, 1)
        if not self.multi_label:
            return logits, own
        opposite = (own + logits.shape[1] // 2) % logits.shape[1]
        return logits.gather(1, torch.cat([own, opposite], 1)), torch.zeros_like(own)


def runner_up(model: LoadedModel, logits: torch.Tensor) -> torch.Tensor:
    """The class nearest to taking the place of the predicted one, for logits `[B, K]`: the second most probable, or with several
    labels the opposite of the predicted one. Int `[B]`."""
    predicted = model.predicted(logits)
    if model.multi_label:
        return (predicted + model.named) % model.classes
    return logits.scatter(1, predicted[:, None], -torch.inf).argmax(1)


def answered(model: LoadedModel, classes: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """What the model answers, from logits `[B, K]`, for pictures that are or were of `classes` `[B]`: the most probable class, or with several
    labels this class or its opposite. Int `[B]`."""
    if not model.multi_label:
        return model.predicted(logits)
    opposite = (classes + model.named) % model.classes
    kept = logits.gather(1, classes[:, None]) >= logits.gather(1, opposite[:, None])
    return torch.where(kept[:, 0], classes, opposite)
