"""Attacks against each other on equal terms: the same pictures, the same budget of passes, one measure of success."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from model_zoo.deferred import torch
from techniques.base.attacks.ball import Ball, draw
from techniques.base.attacks.budget import affordable
from techniques.base.attacks.goal import Goal
from techniques.base.attacks.method import attack_pixels
from techniques.base.attacks.report import likeness
from techniques.base.attacks.task import Iterate, Task

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.registry import Technique
    from techniques.base.run import Run


class Lap(NamedTuple):
    """One attack on one picture: whether it succeeded, the L2 of its change in units of intensity, the largest change in 1/255, SSIM,
    passes, seconds, and after how many passes it turned into a success or back, from 0 on."""

    reached: bool
    l2: float
    largest: float
    similar: float
    forward: int
    backward: int
    seconds: float
    track: tuple[tuple[int, bool], ...]

    @property
    def after(self) -> int:
        """The passes after which it succeeded for good."""
        return self.track[-1][0]

    def reached_after(self, passes: float) -> bool:
        """Whether it would have succeeded with so many passes."""
        return [reached for spent, reached in self.track if spent <= passes][-1]


@dataclass(frozen=True, eq=False)
class Entry:
    """An attack or a control: what it knows of the model, what limits it, its laps so far, and the first of them as the picture that came
    of it `[1, C, H, W]` and the logits `[1, K]` of that."""

    name: str
    knows: str
    limit: str
    laps: list[Lap] = field(default_factory=list)
    shown: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)

    def add(self, lap: Lap, pixels: torch.Tensor, logits: torch.Tensor) -> None:
        if not self.laps:
            self.shown.append((pixels, logits))
        self.laps.append(lap)


@dataclass(frozen=True)
class Race:
    """The terms: so many passes for each picture, and success is another answer, or the `target` where there is one."""

    model: LoadedModel
    budget: int
    target: int | None
    seed: int

    def length(self, entrant: Technique, pixels: torch.Tensor, settings: Mapping[str, Any], run: Run) -> dict[str, int]:
        """How long an attack may search, judged by one picture `[1, C, H, W]`."""
        start, _ = self._start(pixels, run)
        return affordable(entrant, self.model, pixels, self._goal(entrant, start, settings), self.budget, settings, run)

    def run(self, entry: Entry, entrant: Technique, pixels: torch.Tensor, settings: Mapping[str, Any], run: Run) -> None:
        """One attack on one picture `[1, C, H, W]`."""
        start, success = self._start(pixels, run)
        track = [(0, bool(success.reached(start)))]

        def watch(task: Task, best: Iterate) -> None:
            reached = bool(success.reached(best.logits))
            if track[-1][1] != reached:
                track.append((task.forward + task.backward, reached))

        began = time.perf_counter()
        goal = self._goal(entrant, start, settings)
        found = attack_pixels(entrant, self.model, pixels, goal, run, seed=self.seed, budget=self.budget, watch=watch, **settings)
        reached = bool(success.reached(found.logits))  # waits for a GPU, too
        seconds = time.perf_counter() - began
        entry.add(_lap(pixels, found.pixels, reached, found.forward, found.backward, seconds, track), found.pixels, found.logits)

    def control(self, noise: Entry, nothing: Entry, ball: Ball, run: Run) -> None:
        """White noise at the full distance of the ball around one picture, and that picture as it is."""
        start, success = self._start(ball.pixels, run)
        noisy = ball.white_noise(draw(torch.randn, ball.pixels, torch.Generator().manual_seed(self.seed)))
        with torch.no_grad():
            logits = self.model.logits(noisy)
        before, after = (bool(success.reached(said)) for said in (start, logits))
        nothing.add(_lap(ball.pixels, ball.pixels, before, 0, 0, 0.0, [(0, before)]), ball.pixels, start)
        noise.add(_lap(ball.pixels, noisy, after, 1, 0, 0.0, [(0, before), (1, after)]), noisy, logits)

    def _start(self, pixels: torch.Tensor, run: Run) -> tuple[torch.Tensor, Goal]:
        """The logits `[1, K]` of a picture, and what counts as success for all alike."""
        run.check()
        with torch.no_grad():
            logits = self.model.logits(pixels)
        predicted, chosen = self.model.predicted(logits), self.target is not None
        return logits, Goal(torch.full_like(predicted, self.target) if chosen else predicted, chosen, multi_label=self.model.multi_label)

    def _goal(self, entrant: Technique, start: torch.Tensor, settings: Mapping[str, Any]) -> Goal:
        return entrant.attack.goal(self.model, start, self.target, settings.get("loss"))


def _lap(original: torch.Tensor, changed: torch.Tensor, reached: bool, forward: int, backward: int, seconds: float, track: list) -> Lap:
    change = changed - original
    sizes = float(change.norm()), 255 * float(change.abs().max()), likeness(original, changed)[0]
    return Lap(reached, *sizes, forward, backward, seconds, tuple(track))
