"""What every attack shares: the ball its picture stays in, the goal it climbs towards, the panels that show it.

Everything but the panels works on batches `[B, C, H, W]` of pixels in `[0, 1]`, one answer per picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import AppError
from model_zoo.loaded import LoadedModel
from techniques.base.drawing.svg import percent
from techniques.base.hooks import gradient_at
from techniques.base.parameters import Help
from techniques.base.results import Note, Picture, Predictions, Table
from techniques.base.sample import Sample

Norm = Annotated[
    Literal["linf", "l2"], Help("What epsilon limits: the change of every single value (linf), or the root mean square change of the picture (l2).")
]
Loss = Annotated[
    Literal["cross-entropy", "margin"],
    Help("What is climbed: the cross-entropy of the class, or its margin over the others, which has a gradient even where the model is very sure."),
]

_TINY = 1e-30  # keeps divisions by a length defined


@dataclass(frozen=True, eq=False)
class Ball:
    """The pictures near `pixels` `[B, C, H, W]`: inside `[0, 1]`, and changed by no more than `radius`.

    linf: no value changes by more than epsilon / 255. l2: the change is no longer than
    epsilon / 255 * sqrt(C * H * W), which is a root mean square change of epsilon / 255. The same epsilon is
    therefore about equally visible in both norms.
    """

    pixels: torch.Tensor
    epsilon: float
    norm: str

    @property
    def radius(self) -> float:
        return self.epsilon / 255 * (1 if self.norm == "linf" else math.sqrt(self.pixels[0].numel()))

    def project(self, pixels: torch.Tensor) -> torch.Tensor:
        """`pixels` drawn back into the ball, then clipped to `[0, 1]`."""
        change = pixels - self.pixels
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            change = change * (self.radius / _length(change)).clamp(max=1)
        return (self.pixels + change).clamp(0, 1)

    def direction(self, gradient: torch.Tensor) -> torch.Tensor:
        """The steepest way up among all changes of size 1 in the norm; zero where the gradient is zero."""
        if self.norm == "linf":
            return gradient.sign()
        gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp_min(_TINY)  # or the squares of small numbers vanish
        return gradient / _length(gradient)

    def random_start(self, generator: torch.Generator) -> torch.Tensor:
        """A uniformly random point of the ball, clipped to `[0, 1]`."""
        if self.norm == "linf":
            change = self.radius * (2 * self._draw(torch.rand, generator) - 1)
        else:
            count, values = len(self.pixels), self.pixels[0].numel()
            share = torch.rand(count, 1, 1, 1, generator=generator).to(self.pixels) ** (1 / values)
            change = self.radius * share * self.direction(self._draw(torch.randn, generator))
        return self.project(self.pixels + change)

    def white_noise(self, generator: torch.Generator) -> torch.Tensor:
        """A random point at full distance, clipped to `[0, 1]`: random signs (linf), Gaussian noise of that length (l2)."""
        return self.project(self.pixels + self.radius * self.direction(self._draw(torch.randn, generator)))

    def _draw(self, sampler, generator: torch.Generator) -> torch.Tensor:
        """Random numbers of the pixels' shape, drawn on the CPU so that a seed means the same on every device."""
        return sampler(self.pixels.shape, generator=generator).to(self.pixels)


def _length(change: torch.Tensor) -> torch.Tensor:
    """Euclidean length per picture `[B, 1, 1, 1]`, never zero."""
    return change.flatten(1).norm(dim=1).clamp_min(_TINY).view(-1, 1, 1, 1)


@dataclass(frozen=True, eq=False)
class Goal:
    """What an attack wants: towards `classes` `[B]` when `targeted`, otherwise away from them."""

    classes: torch.Tensor
    targeted: bool
    loss: str = "cross-entropy"
    multi_label: bool = False

    def gain(self, logits: torch.Tensor) -> torch.Tensor:
        """How near each picture is to the goal, `[B]`, more being better: cross-entropy in nats, or margin in logits."""
        logits, own = self._rivals(logits)
        if self.loss == "margin":
            others = logits.scatter(1, own, -torch.inf).amax(1)
            confidence = logits.gather(1, own).squeeze(1) - others
        else:
            confidence = logits.log_softmax(1).gather(1, own).squeeze(1)
        return confidence if self.targeted else -confidence

    def reached(self, logits: torch.Tensor) -> torch.Tensor:
        """Whether each picture is at the goal, bool `[B]`."""
        logits, own = self._rivals(logits)
        return (logits.argmax(1) == own.squeeze(1)) == self.targeted

    def _rivals(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits of all that compete, and the column of each picture's class `[B, 1]`: all classes, or a label and its opposite."""
        own = self.classes.view(-1, 1)
        if not self.multi_label:
            return logits, own
        opposite = (own + logits.shape[1] // 2) % logits.shape[1]
        return logits.gather(1, torch.cat([own, opposite], 1)), torch.zeros_like(own)


def logits_and_gradient(model: LoadedModel, goal: Goal, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[B, K]` and the gradient of each picture's own gain at its pixels `[B, C, H, W]`: one pass each way.

    Raises AppError when the gradient is not finite: no direction could be told from it.
    """
    pixels = pixels.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)
        gradient = gradient_at(goal.gain(logits).sum(), pixels)
    bad = int((~gradient.isfinite()).sum())
    if bad:
        raise AppError(f"The attack cannot move: {bad} numbers of its gradient are not finite. The model's scores are too large or damaged.")
    return logits.detach(), gradient


class Answer(NamedTuple):
    """The panels of every attack."""

    original: Picture
    perturbation: Picture
    adversarial: Picture
    white_noise: Picture
    predictions: Predictions
    measures: Table
    note: Note


class Outcome(NamedTuple):
    """How far an attack came: pixels `[B, C, H, W]`, their logits `[B, K]`, and whether it ever had a gradient, bool `[B]`."""

    pixels: torch.Tensor
    logits: torch.Tensor
    moved: torch.Tensor


@dataclass(frozen=True, eq=False)
class Attack:
    """One attack on one sample, with white noise of the same size as a control; `unharmed` holds logits `[2, K]` of
    the picture and of the noise."""

    title: str
    sample: Sample
    model: LoadedModel
    ball: Ball
    goal: Goal
    noise: torch.Tensor
    unharmed: torch.Tensor

    @classmethod
    def prepare(
        cls, title: str, sample: Sample, model: LoadedModel, *, target: int | None, epsilon: float, norm: str, loss: str, generator: torch.Generator
    ) -> Attack:
        """Aim at `target`, or away from the predicted class when it is None."""
        ball = Ball(sample.pixels, epsilon, norm)
        noise = ball.white_noise(generator)
        with torch.no_grad():
            unharmed = model.logits(torch.cat([sample.pixels, noise]))
        classes = model.predicted(unharmed[:1]) if target is None else torch.tensor([target], device=sample.pixels.device)
        return cls(title, sample, model, ball, Goal(classes, target is not None, loss, model.multi_label), noise, unharmed)

    def answer(self, outcome: Outcome, *, steps: int, forward_passes: int, backward_passes: int) -> Answer:
        """The panels for an attack that came this far with this many steps and passes."""
        original = self.sample.pixels
        change = outcome.pixels - original
        logits = torch.cat([self.unharmed[:1], outcome.logits, self.unharmed[1:]])
        strength = f"epsilon {self.ball.epsilon:g}/255" + (" (l2)" if self.ball.norm == "l2" else "")
        rows = (
            ("adversarial", *_sizes(change), steps, forward_passes, backward_passes, int(self.goal.reached(outcome.logits))),
            ("white noise", *_sizes(self.noise - original), 0, 1, 0, int(self.goal.reached(self.unharmed[1:]))),
        )
        return Answer(
            Picture(original[0], label=self.sample.origin, caption="Original"),
            Picture(change[0], signed=True, caption="Perturbation; drawing magnifies it until its largest change fills the scale"),
            Picture(outcome.pixels[0], label=f"{self.title}, {strength}, of {self.sample.origin}", caption="Adversarial picture"),
            Picture(self.noise[0], label=f"White noise, {strength}, on {self.sample.origin}", caption="Control: white noise of the same size"),
            Predictions.of(self.model, logits, ("before", "after", "white noise")),
            Table(_COLUMNS, rows, caption="Size of the change, passes through the network, and whether the goal was reached"),
            Note(self._story(logits) + self._standstill(outcome)),
        )

    def _story(self, logits: torch.Tensor) -> str:
        """The whole result in one sentence."""
        before, after, noise = self.model.shares(logits)
        start = int(self.model.predicted(before))
        told = [f"{self._named(start, before)} {self._turned(start, after, 'became', f'is still “{self.model.label(start)}”')}"]
        if self.goal.targeted and not self.goal.reached(logits[1:2]):
            told.append(f", not the {self._named(int(self.goal.classes), after)} aimed at,")
        size = f"{self.ball.epsilon:g}/255"
        told.append(f" by moving each pixel at most {size}" if self.ball.norm == "linf" else f" by moving the pixels {size} in root mean square")
        told.append(f"; white noise of the same size {self._turned(start, noise, 'makes it', f'leaves “{self.model.label(start)}” at')}.")
        return "".join(told)

    def _standstill(self, outcome: Outcome) -> str:
        """What is to be known when the attack never had a gradient; empty otherwise."""
        if outcome.moved.all():
            return ""
        remedy = "choose the loss “margin”" if self.goal.loss == "cross-entropy" else "no small change of a pixel moves these logits"
        start = " What is shown is the random start alone." if not torch.equal(outcome.pixels, self.sample.pixels) else ""
        return f" The gradient is zero: the attack cannot move; {remedy}.{start}"

    def _turned(self, start: int, probabilities: torch.Tensor, changed: str, kept: str) -> str:
        """What became of the class `start`, with one of two verbs."""
        end = self._answer(start, probabilities)
        return f"{kept} {percent(float(probabilities[end]))}" if end == start else f"{changed} {self._named(end, probabilities)}"

    def _answer(self, start: int, probabilities: torch.Tensor) -> int:
        """The class that a picture once of class `start` is said to be: the most probable one, or with several labels this or its opposite."""
        if not self.model.multi_label:
            return int(probabilities.argmax())
        return start if probabilities[start] >= 0.5 else (start + self.model.classes // 2) % self.model.classes

    def _named(self, index: int, probabilities: torch.Tensor) -> str:
        return f"“{self.model.label(index)}” {percent(float(probabilities[index]))}"


_COLUMNS = (
    "picture", "L0 (values)", "L1", "L2", "L-infinity in 1/255", "root mean square in 1/255",
    "steps", "forward passes", "backward passes", "success",
)  # fmt: skip


def _sizes(change: torch.Tensor) -> tuple[int | float, ...]:
    """Norms of a change of pixels `[1, C, H, W]`: L0, L1, L2 in units of intensity, L-infinity and mean square in 1/255."""
    values = change.flatten().cpu().double()
    return (
        int(values.count_nonzero()),
        float(values.abs().sum()),
        float(values.norm()),
        255 * float(values.abs().max()),
        255 * float(values.square().mean().sqrt()),
    )
