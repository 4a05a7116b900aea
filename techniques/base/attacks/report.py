"""The one report that every attack gives: the pictures, what the model says to them, how it came to that, and what survives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from model_zoo.deferred import torch
from model_zoo.loaded import LoadedModel
from techniques.base.attacks.goal import Goal, answered
from techniques.base.attacks.record import Record
from techniques.base.attacks.survival import versions
from techniques.base.attacks.task import Iterate, Task
from techniques.base.drawing.svg import percent
from techniques.base.results import Animation, Browser, Note, Picture, Predictions, Table
from techniques.base.sample import Sample

MEASURES = (
    "picture", "L0 (values)", "L1", "L2", "L-infinity in 1/255", "root mean square in 1/255", "SSIM", "PSNR in dB",
    "steps", "forward passes (queries)", "backward passes", "success",
)  # fmt: skip
SURVIVAL = ("version", "says", "probability", "success", "the original says", "its probability")


class Answer(NamedTuple):
    """The panels of every attack."""

    original: Picture
    perturbation: Picture
    adversarial: Picture
    predictions: Predictions
    note: Note
    replay: Animation | None
    curves: Browser | None
    measures: Table
    survival: Table | None
    white_noise: Picture


@dataclass(frozen=True, eq=False)
class Report:
    """One attack on one sample, whose logits are `start` `[1, K]`. `strength` says in words what limited the change, such as
    "epsilon 2/255", and `told` how to say it of the result; both are None for an attack that looks for the smallest change."""

    sample: Sample
    model: LoadedModel
    task: Task
    record: Record
    start: torch.Tensor
    strength: str | None
    told: str | None

    @property
    def goal(self) -> Goal:
        return self.task.goal

    def answer(self, found: Iterate, noise: torch.Tensor, finished: bool) -> Answer:
        """The panels for an attack that came to `found`, with white noise of the same size as a control. What survives is tried once
        it is `finished`."""
        original = self.sample.pixels
        change = found.pixels - original
        with torch.no_grad():
            noisy = self.model.logits(noise)
        logits = torch.cat([self.start, found.logits, noisy])
        strength = self.strength or f"L2 {float(change.norm()):.2g}"
        passes = (self.record.steps, self.task.forward, self.task.backward)
        rows = (
            ("adversarial", *sizes(change), *likeness(original, found.pixels), *passes, int(self.goal.reached(found.logits))),
            ("white noise", *sizes(noise - original), *likeness(original, noise), 0, 1, 0, int(self.goal.reached(noisy))),
        )
        watched = self.record.steps > 1
        return Answer(
            original=Picture(original[0], label=self.sample.origin, caption="Original"),
            perturbation=Picture(change[0], signed=True, caption="Perturbation; drawing magnifies it until its largest change fills the scale"),
            adversarial=Picture(found.pixels[0], label=f"{self.task.title}, {strength}, of {self.sample.origin}", caption="Adversarial picture"),
            predictions=Predictions.of(self.model, logits, ("before", "after", "white noise")),
            note=Note(" ".join(filter(None, (self._story(logits, change), self._standstill(found.pixels), self.task.remark)))),
            replay=self.record.replay(self.model) if watched else None,
            curves=self.record.curves(self.model) if watched else None,
            measures=Table(MEASURES, rows, caption="Size of the change, passes through the network, and whether the goal was reached"),
            survival=self._survival(found.pixels) if finished else None,
            white_noise=Picture(noise[0], label=f"White noise, {strength}, on {self.sample.origin}", caption="Control: white noise of the same size"),
        )

    def _survival(self, pixels: torch.Tensor) -> Table:
        """What the model says to other versions of the adversarial picture, and to the same versions of the original."""
        made = versions(pixels, self.sample, self.model)
        before = versions(self.sample.pixels, self.sample, self.model)
        logits = Task(self.model, pixels, self.goal, self.task.generator, self.task.run).logits(torch.cat([*made.values(), *before.values()]))
        reached = self.goal.repeated(len(made)).reached(logits[: len(made)])
        shares = self.model.shares(logits)
        said = [(self.model.label(int(i)), float(share[i])) for i, share in zip(self.model.predicted(shares), shares)]
        rows = tuple((name, *said[i], int(reached[i]), *said[len(made) + i]) for i, name in enumerate(made))
        return Table(SURVIVAL, rows, caption="Does it survive? The picture saved, shrunk, cropped and blurred, beside the original treated likewise")

    def _story(self, logits: torch.Tensor, change: torch.Tensor) -> str:
        """The whole result in one sentence."""
        before, after, noise = self.model.shares(logits)
        start = int(self.model.predicted(before))
        told = [f"{self._named(start, before)} {self._turned(start, after, 'became', f'is still “{self.model.label(start)}”')}"]
        if self.goal.targeted and not self.goal.reached(logits[1:2]):
            told.append(f", not the {self._named(int(self.goal.classes), after)} aimed at,")
        told.append(f" by moving {self.told or moved(change)}")
        told.append(f"; white noise of the same size {self._turned(start, noise, 'makes it', f'leaves “{self.model.label(start)}” at')}.")
        return "".join(told)

    def _standstill(self, pixels: torch.Tensor) -> str:
        """What is to be known when the attack never had a gradient; empty otherwise."""
        if self.task.moved is None or self.task.moved.any():
            return ""
        remedy = "choose the loss “margin”" if self.goal.loss == "cross-entropy" else "no small change of a pixel moves these logits"
        start = " What is shown is the random start alone." if not torch.equal(pixels, self.sample.pixels) else ""
        return f"The gradient is zero: the attack cannot move; {remedy}.{start}"

    def _turned(self, start: int, probabilities: torch.Tensor, changed: str, kept: str) -> str:
        """What became of the class `start`, with one of two verbs."""
        end = int(answered(self.model, torch.tensor([start], device=probabilities.device), probabilities[None]))
        return f"{kept} {percent(float(probabilities[end]))}" if end == start else f"{changed} {self._named(end, probabilities)}"

    def _named(self, index: int, probabilities: torch.Tensor) -> str:
        return f"“{self.model.label(index)}” {percent(float(probabilities[index]))}"


def moved(change: torch.Tensor) -> str:
    """What a change `[1, C, H, W]` moves, as the rest of "by moving"."""
    pixels = int(change.abs().amax(1).count_nonzero())
    root = 255 * float(change.double().square().mean().sqrt())
    if pixels <= 0.1 * change[0, 0].numel():
        return f"{pixels} of {change[0, 0].numel():,} pixels, together by an L2 of {float(change.norm()):.3g}"
    return f"the pixels {root:.2g}/255 in root mean square (L2 {float(change.norm()):.3g})"


def sizes(change: torch.Tensor) -> tuple[int | float, ...]:
    """Norms of a change of pixels `[1, C, H, W]`: L0, L1, L2 in units of intensity, L-infinity and mean square in 1/255."""
    values = change.flatten().cpu().double()
    return (
        int(values.count_nonzero()),
        float(values.abs().sum()),
        float(values.norm()),
        255 * float(values.abs().max()),
        255 * float(values.square().mean().sqrt()),
    )


def likeness(original: torch.Tensor, changed: torch.Tensor) -> tuple[float, float | str]:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861) by scikit-image, mean over channels, in windows of 7 pixels or
    as many as there are; and peak signal-to-noise ratio in decibels for a peak of 1, a text where nothing changed."""
    from skimage.metrics import structural_similarity

    first, second = (pixels[0].cpu().double().numpy() for pixels in (original, changed))
    window = min(7, *(side - (side + 1) % 2 for side in first.shape[1:]))  # odd
    similar = structural_similarity(first, second, win_size=window, channel_axis=0, data_range=1.0) if window >= 3 else float((first == second).all())
    error = float(((first - second) ** 2).mean())
    return float(similar), -10 * math.log10(error) if error else "unchanged"
