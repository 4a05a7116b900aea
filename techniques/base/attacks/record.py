"""What happened on the way of an attack on one picture, thinned out evenly: for the replay and the curves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from model_zoo.deferred import torch
from techniques.base.attacks.ball import distance
from techniques.base.attacks.goal import Goal
from techniques.base.drawing.svg import percent
from techniques.base.results import Animation, Browser, Curve

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel

MOST = 40  # iterates that are kept of a run
RATE = 8.0  # frames per second


class Moment(NamedTuple):
    """One iterate of a picture: its step (0 for the picture itself), pixels `[C, H, W]`, logits `[K]`, the passes made so far, and whether
    it is an earlier one that is kept in the end."""

    step: int
    pixels: torch.Tensor
    logits: torch.Tensor
    forward: int
    backward: int
    kept: bool = False


@dataclass
class Record:
    """The moments of a run: at first every one, then every second, fourth ...; the last one always."""

    original: torch.Tensor
    goal: Goal
    moments: list[Moment] = field(default_factory=list)
    last: Moment | None = None
    every: int = 1

    @property
    def steps(self) -> int:
        """How many steps the search has taken."""
        return self.last.step if self.last else 0

    def add(self, pixels: torch.Tensor, logits: torch.Tensor, forward: int, backward: int) -> None:
        """The next iterate `[1, C, H, W]`, with its logits `[1, K]`; the first is the picture itself."""
        self.last = Moment(0 if self.last is None else self.last.step + 1, pixels[0], logits[0], forward, backward)
        if self.last.step % self.every == 0:
            self.moments.append(self.last)
        if len(self.moments) > MOST:
            self.every *= 2
            self.moments = [moment for moment in self.moments if moment.step % self.every == 0]

    def finish(self, pixels: torch.Tensor, logits: torch.Tensor) -> None:
        """What is kept in the end `[1, C, H, W]`, where that is not the last iterate."""
        if self.last.step and not torch.equal(self.last.pixels, pixels[0]):
            self.moments = self.kept
            self.last = self.last._replace(pixels=pixels[0], logits=logits[0], kept=True)

    @property
    def kept(self) -> list[Moment]:
        return self.moments if self.last is self.moments[-1] else [*self.moments, self.last]

    def replay(self, model: LoadedModel) -> Animation:
        """The pictures on the way `[T, C, H, W]`, each named by its step and what the model says to it."""
        kept = self.kept
        shares = model.shares(torch.stack([moment.logits for moment in kept]))
        said = [f"{model.label(int(i))} {percent(float(share[i]))}" for i, share in zip(model.predicted(shares), shares)]
        names = tuple(f"{'kept' if moment.kept else f'step {moment.step}'}: {answer}" for moment, answer in zip(kept, said))
        return Animation(torch.stack([moment.pixels for moment in kept]), RATE, names, caption="The picture on its way")

    def curves(self, model: LoadedModel) -> Browser:
        """Probabilities, what is climbed, the size of the change and the passes, each over the steps."""
        kept = self.kept
        logits = torch.stack([moment.logits for moment in kept])
        changes = torch.stack([moment.pixels for moment in kept]) - self.original
        steps = torch.tensor([float(moment.step) for moment in kept])
        shares = model.shares(logits)
        followed = dict.fromkeys(map(int, (model.predicted(shares[0]), self.goal.classes[0], model.predicted(shares[-1]))))
        unit = "nats" if self.goal.loss == "cross-entropy" else "logits"
        sizes = {"largest": 255 * distance(changes, "linf"), "root mean square": 255 * changes.square().mean((1, 2, 3)).sqrt()}
        passes = {name: torch.tensor([float(getattr(moment, name)) for moment in kept]) for name in ("forward", "backward")}

        def over_steps(lines: dict[str, torch.Tensor], label: str, caption: str) -> Curve:
            return Curve(steps, lines, x_label="step", y_label=label, caption=caption)

        aim = "Towards" if self.goal.targeted else "Away from"
        climbed = {f"{self.goal.loss}": self.goal.repeated(len(kept)).gain(logits)}
        cells = {
            "probability": over_steps({_line(model, i): shares[:, i] for i in followed}, "probability", "What the model says on the way"),
            "loss": over_steps(climbed, unit, f"{aim} “{model.label(int(self.goal.classes[0]))}”: what is climbed"),
            "change": over_steps(sizes, "1/255", "The size of the change on the way"),
            "passes": over_steps(passes, "passes", "Passes through the network so far; forward ones are the queries"),
        }
        return Browser(("curve",), cells)


def _line(model: LoadedModel, index: int) -> str:
    """The name of a class's line; labels may be equal, lines may not."""
    label = model.label(index)
    return label if model.labels.count(label) == 1 else f"{label} ({index})"
