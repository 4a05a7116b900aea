"""One pattern that fools the model on most pictures, whatever is on them: it is learned from some of your pictures, and tried on
others that it has never met.

Universal perturbations: Moosavi-Dezfooli, Fawzi, Fawzi and Frossard 2017, arXiv:1610.08401. Their section 3 adds up the smallest changes that
DeepFool finds picture by picture; here the loss over all pictures is climbed in batches, and the change drawn back into the ball after each step,
as in Shafahi et al. 2020, arXiv:1811.11304, section 3, which is as strong and much quicker: the cross-entropy of each picture counts up to
9 nats and no further, so that those that are fooled leave the step to the others. Departures: the step is the sign (or in l2 the direction) of
gradients gathered as in Dong et al. 2018, arXiv:1710.06081, of which fewer epochs are needed than of their plain gradient; the class moved away
from is the predicted one; towards a class that is chosen, the log probability is climbed.

The fooling rate is the share of pictures that are answered otherwise than before (their section 3), or as the chosen class. The algorithm
stands here because ART (1.20), the one library tried that has any, has the first way alone: one picture after the other, through numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from techniques.base import (
    Curve, Epsilon, Gallery, LoadedModel, Note, Picture, Run, Samples, Seed, Table, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.attacks import Ball, Goal, Loss, Norm, StepSize, Task, draw, limit_in_words, unit
from techniques.base.attacks.one_for_all import Epochs, HeldOut, counted, examples, hold_out, logits_of, met

ENOUGH = 9.0  # nats or logits; what a picture gains beyond does not count
SHOWN = 4  # pictures
KEPT = 0.9  # of the gradients gathered so far


CURVE = "The share of the pictures that are fooled; of those learned from as they came by, at the end all at once"


class Answer(NamedTuple):
    perturbation: Picture
    examples: Gallery
    note: Note
    rates: Table | None
    fooling: Curve
    answers: Table | None


@dataclass(eq=False)
class Universal:
    """A change `[1, C, H, W]` on its way; the pictures it is learned from and those held out, by position; what is wanted of all, and the
    shares that have it after each epoch."""

    samples: Samples
    model: LoadedModel
    goal: Goal
    learned: list[int]
    held_out: list[int]
    change: torch.Tensor
    moved: bool = False
    shares: dict[str, list[float]] = field(default_factory=dict)

    @property
    def unmet(self) -> list[int]:
        """The pictures that the result is judged by: those held out, where there are such."""
        return self.held_out or self.learned

    def fooled(self, positions: list[int], logits: torch.Tensor) -> float:
        """The share of these pictures that are at the goal, from their logits."""
        return float(self.goal.of(torch.tensor(positions)).reached(logits).float().mean())

    def note(self, learned: float, held_out: torch.Tensor) -> None:
        """Add a point to the curves: the share of those learned from, as they came by, and the logits of those held out."""
        self.shares.setdefault("learned from", []).append(learned)
        if self.held_out:
            self.shares.setdefault("held out", []).append(self.fooled(self.held_out, held_out))


@technique(
    title="Universal perturbation",
    family="Robustness",
    paper="arXiv:1610.08401",
    order=70,
    limits="What holds for these pictures need not hold for pictures of another kind, and with few of them the share that is held out says little. "
    "A pattern that does not fool at this epsilon may do so after more epochs.",
    assumes="White box over a set: the attacker has the network and pictures like those to be fooled, but sees no picture when it is attacked. "
    "Goal: misclassification as any other class, or with a class chosen at the top, targeted misclassification. Epsilon limits the change.",
)
def universal_perturbation(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    epsilon: Epsilon = 10.0,
    norm: Norm = "linf",
    epochs: Epochs = 10,
    step_size: StepSize = 0.2,
    held_out: HeldOut = 20,
    loss: Loss = "cross-entropy",
    seed: Seed = 0,
) -> Answer:
    """The perturbation `[C, H, W]`; some pictures as they are, with it, and with white noise of the same size; the shares that are fooled, 0 to 1,
    at the end and over the epochs; and how often each class is answered."""
    generator, parts = torch.Generator().manual_seed(seed), epochs + 2
    (before,) = logits_of(samples, model, run.part(0, parts, "Before"), lambda pixels: pixels)
    classes = model.predicted(before) if target is None else torch.full((len(samples),), target)
    goal = Goal(classes, target is not None, loss, model.multi_label)
    ball = Ball(torch.zeros_like(samples[0].pixels), epsilon, norm)
    made = Universal(samples, model, goal, *hold_out(samples, held_out, generator), ball.pixels)
    noise = ball.radius * ball.direction(draw(torch.randn, ball.pixels, generator))
    made.note(made.fooled(made.learned, before[made.learned]), before[made.held_out])
    show = partial(_answer, made, limit_in_words({"epsilon": epsilon, "norm": norm}), noise)
    gathered = torch.zeros_like(noise)
    for epoch in range(epochs):
        part, reached = run.part(epoch + 1, parts, f"Epoch {epoch + 1}"), 0
        for positions in part.steps(list(met(made.learned, model, generator)), "batch"):
            gradient, fooled = _gradient(made, positions, part)
            gathered = KEPT * gathered + unit(gradient, 1)
            if gradient.any():  # else all of them are fooled enough
                made.change = ball.shortened(made.change + step_size * ball.radius * ball.direction(gathered))
            reached += fooled
            run.show(show)
        made.note(reached / len(made.learned), *logits_of(samples.only(made.held_out), model, part, made.change.add))
    after, noisy = logits_of(samples, model, run.part(epochs + 1, parts, "After"), made.change.add, noise.add)
    made.shares["learned from"][-1] = made.fooled(made.learned, after[made.learned])
    return show(said={"with it": after, "with white noise": noisy, "as they are": before})


def _gradient(made: Universal, positions: list[int], run: Run) -> tuple[torch.Tensor, int]:
    """Gradient `[1, C, H, W]` of what these pictures gain, at the change they share, and how many of them it fools."""
    pixels = made.samples.only(positions).pixels
    goal = replace(made.goal, classes=made.goal.classes[positions].to(pixels.device))
    task, changed = Task(made.model, pixels, goal, torch.Generator(), run), pixels + made.change
    logits, gradient = task.gradient(changed.clamp(0, 1), lambda logits: goal.gain(logits).clamp(max=ENOUGH))
    made.moved |= bool(task.moved.any())
    free = (changed >= 0) & (changed <= 1)  # a pixel that is stopped by black or white has no gradient
    return (gradient * free).sum(0, keepdim=True), int(goal.reached(logits).sum())


def _answer(made: Universal, limit: str, noise: torch.Tensor, said: dict[str, torch.Tensor] | None = None) -> Answer:
    """What is known so far; at the end with the logits `[N, K]` of all pictures by what was done to them."""
    lines = {name: torch.tensor(shares) for name, shares in made.shares.items()}
    epochs = torch.arange(len(made.shares["learned from"])).float()
    if said:
        lines["white noise"] = torch.full_like(epochs, made.fooled(made.unmet, said["with white noise"][made.unmet]))
    changes = {"with it": made.change.add, "with white noise": noise.add}
    labels = {"with it": f"Universal perturbation, {limit}", "with white noise": f"White noise, {limit}"}
    return Answer(
        Picture(made.change[0], signed=True, caption="The perturbation, the same for all pictures; drawing magnifies it"),
        replace(examples(made.samples.only(made.unmet[:SHOWN]), made.model, changes, labels), caption="Some of the pictures"),
        Note(_story(made, said)),
        _rates(made, said) if said else None,
        Curve(epochs, lines, x_label="epoch", y_label="fooled", caption=CURVE),
        counted(made.model, said) if said else None,
    )


def _rates(made: Universal, said: dict[str, torch.Tensor]) -> Table:
    kinds = {"learned from": made.learned, "held out": made.held_out}
    rows = ((kind, len(places), *(made.fooled(places, logits[places]) for logits in said.values())) for kind, places in kinds.items() if places)
    return Table(("pictures", "how many", *said), tuple(rows), caption=f"The share of the pictures that are answered {_wanted(made)}")


def _wanted(made: Universal) -> str:
    return f"as “{made.model.label(int(made.goal.classes[0]))}”" if made.goal.targeted else "otherwise than before"


def _story(made: Universal, said: dict[str, torch.Tensor] | None) -> str:
    """The result in a sentence or two."""
    kind, count = "held out" if made.held_out else "learned from", len(made.unmet)
    shares = [made.fooled(made.unmet, logits[made.unmet]) for logits in said.values()] if said else [made.shares[kind][-1]]
    noise = f"; white noise of the same size does that to {shares[1]:.0%}" if said else ""
    told = [f"{shares[0]:.0%} of the {count} picture{'s' * (count > 1)} {kind} are answered {_wanted(made)}{noise}."]
    if not made.held_out:
        told.append("No picture was held out: add more to see whether it fools the model on pictures that it was not learned from.")
    if said and not made.moved:
        told.append("The gradient is zero: the perturbation cannot move" + ("; choose the loss “margin”." if made.goal.loss == "cross-entropy" else "."))
    return " ".join(told)
