"""An attack's view of the model: pictures, a goal, and questions that are counted. At each of them Stop is heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

from model_zoo.deferred import torch
from model_zoo.errors import AppError
from techniques.base.attacks.goal import Goal
from techniques.base.batches import batch_size, parts
from techniques.base.hooks import gradient_at
from techniques.base.parameters import Help, Range

if TYPE_CHECKING:
    from model_zoo.loaded import LoadedModel
    from techniques.base.run import Run

Item = TypeVar("Item")
Queries = Annotated[
    int, Range(10, 20000, 10, "queries"), Help("How many pictures the model may be asked about; a picture that has reached the goal asks no more.")
]


class Spent(Exception):
    """The attack may ask the model nothing more; what it has found so far counts."""


class Iterate(NamedTuple):
    """Where an attack stands: pixels `[B, C, H, W]` in `[0, 1]`, which it will not change in place any more, and their logits `[B, K]`.

    `final` says whether this may be the answer, or is only on the way to one.
    """

    pixels: torch.Tensor
    logits: torch.Tensor
    final: bool = True


@dataclass(eq=False)
class Task:
    """Pictures `pixels` `[B, C, H, W]` to be brought to a goal. Searches run without gradients; `gradient` and `differentiable`
    take them where they are wanted.

    `forward` and `backward` count the pictures that went through the network, either way; a question that would bring both
    together above the `budget` is not asked and raises Spent, None for no limit. `moved` says of each picture whether its gradient
    was ever anything but zero, None for a search that has not taken one. `remark` is a sentence that a search has to say about its result.
    """

    model: LoadedModel
    pixels: torch.Tensor
    goal: Goal
    generator: torch.Generator
    run: Run
    title: str = "Attack"
    budget: int | None = None
    forward: int = 0
    backward: int = 0
    moved: torch.Tensor | None = None
    remark: str = ""

    def steps(self, items: int | Iterable[Item]) -> Iterator[Item]:
        """As `Run.steps`, under the name of the attack."""
        return self.run.steps(items, f"{self.title} step")

    def logits(
        self, items: torch.Tensor, pictures: Callable[[torch.Tensor], torch.Tensor] = lambda part: part, model: LoadedModel | None = None
    ) -> torch.Tensor:
        """What the model, or another one, says to any number of pictures, `[N, K]`, in batches that fit into memory; without a gradient.

        `items` `[N, ...]` are their pixels, or what `pictures` makes the pixels of a part of them from.
        """
        self._afford(len(items))
        model, answers = model or self.model, []
        for part in parts(items, batch_size(model)):
            self.run.check()
            with torch.no_grad():
                answers.append(model.logits(pictures(part)))
            self.forward += len(part)
        return torch.cat(answers)

    def differentiable(self, pixels: torch.Tensor, model: LoadedModel | None = None) -> torch.Tensor:
        """Logits `[N, K]` of the model, or another one, with a graph from `pixels`, under `torch.enable_grad()`; the way back is counted
        when it is taken."""
        self.run.check()
        self._afford(2 * len(pixels))  # there, and the way back that is to follow
        logits = (model or self.model).logits(pixels)
        self.forward += len(pixels)
        if logits.requires_grad:
            logits.register_hook(lambda _gradient: self._count(len(pixels)))
        return logits

    def gradient(self, pixels: torch.Tensor, gain: Callable[[torch.Tensor], torch.Tensor] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits `[B, K]` and the gradient of each picture's own gain at its pixels `[B, C, H, W]`: one pass each way.

        `gain` is the goal's unless another function from logits `[B, K]` to `[B]` is given. Raises AppError when the gradient is
        not finite: no direction could be told from it.
        """
        pixels = pixels.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.differentiable(pixels)
            gradient = gradient_at((gain or self.goal.gain)(logits).sum(), pixels)
        self.see(gradient)
        return logits.detach(), gradient

    def gradients(
        self, pixels: torch.Tensor, gains: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Logits `[B, K]`, N gains of each picture `[N, B]` and their gradients at its pixels `[N, B, C, H, W]`: one forward pass and N
        backward. `gains` makes N numbers `[B]` of the logits; where it makes none, the gains and gradients are None and no pass is taken.
        """
        pixels = pixels.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = self.differentiable(pixels)
            made = gains(logits)
            self._afford(len(made) * len(pixels))
            found = []
            for number, gain in enumerate(made):
                found.append(gradient_at(gain.sum(), pixels, again=number + 1 < len(made)))
                self.see(found[-1])
                self.run.check()
        return logits.detach(), torch.stack(made).detach() if made else None, torch.stack(found) if made else None

    def see(self, gradient: torch.Tensor) -> None:
        """Take note of a gradient `[B, C, H, W]`; AppError when it is not finite."""
        bad = int((~gradient.isfinite()).sum())
        if bad:
            raise AppError(f"The attack cannot move: {bad} numbers of its gradient are not finite. The model's scores are too large or damaged.")
        live = gradient.flatten(1).any(1)
        self.moved = live if self.moved is None or len(self.moved) != len(live) else self.moved | live

    def shortened(self, found: Iterate, halvings: int = 10) -> Iterate:
        """Each picture that is at the goal moved back along the straight line to where it came from, as far as it still is: to within
        2 ** -halvings of its change, at one forward pass per halving. The others stay as they are."""
        there = self.goal.reached(found.logits).nonzero().squeeze(1)
        goal, start = self.goal.of(there), self.pixels[there]
        pixels, logits = found.pixels[there], found.logits[there]
        way = pixels - start
        low, high = torch.zeros_like(way[:, :1, :1, :1]), torch.ones_like(way[:, :1, :1, :1])
        for _ in range(halvings if way.any() else 0):
            middle = (low + high) / 2
            nearer = (start + middle * way).clamp(0, 1)
            seen = self.logits(nearer)
            hit = goal.reached(seen).view(-1, 1, 1, 1)
            low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
            pixels, logits = torch.where(hit, nearer, pixels), torch.where(hit[:, 0, 0], seen, logits)
        return Iterate(found.pixels.index_copy(0, there, pixels), found.logits.index_copy(0, there, logits))

    def one_by_one(self, search: Callable[[Task], Iterator[Iterate]]) -> Iterator[Iterate]:
        """The iterates of a `search` that takes one picture at a time, each a task of its own with its own counts: pictures before it stand
        where their search ended, those after it are as they were. A picture that is at its goal already is left alone."""
        pixels, logits = self.pixels, self.logits(self.pixels)
        yield Iterate(pixels, logits)
        reached, count = self.goal.reached(logits), len(pixels)
        share = None if self.budget is None else self.budget // count - 1  # the pass above is paid for
        for i in (~reached).nonzero().flatten().tolist():
            run = self.run if count == 1 else self.run.part(i, count, f"Picture {i + 1} of {count}")
            alone = replace(self, pixels=self.pixels[i : i + 1], goal=self.goal.of(i), run=run, budget=share, forward=0, backward=0)
            forward, backward, place = self.forward, self.backward, torch.tensor([i], device=pixels.device)
            for found in search(alone):
                self.forward, self.backward = forward + alone.forward, backward + alone.backward
                pixels, logits = pixels.index_copy(0, place, found.pixels), logits.index_copy(0, place, found.logits)
                yield Iterate(pixels, logits, found.final)
            self.forward, self.backward, self.remark = forward + alone.forward, backward + alone.backward, alone.remark

    def better(self, first: Iterate | None, second: Iterate, measure: Callable[[torch.Tensor], torch.Tensor] | None = None) -> Iterate:
        """For each picture the one that reaches the goal. When both do, the one with the smaller `measure` `[B]` of its change, where
        there is a measure; otherwise, and when none does, the one nearer to the goal or past it."""
        if first is None:
            return second
        reached = [self.goal.reached(iterate.logits) for iterate in (first, second)]
        take = self.goal.gain(second.logits) > self.goal.gain(first.logits)
        if measure is not None:
            smaller = measure(second.pixels - self.pixels) < measure(first.pixels - self.pixels)
            take = torch.where(reached[0] & reached[1], smaller, take)
        take = torch.where(reached[0] == reached[1], take, reached[1])
        pixels = torch.where(take.view(-1, 1, 1, 1), second.pixels, first.pixels)
        return Iterate(pixels, torch.where(take[:, None], second.logits, first.logits))

    def _afford(self, passes: int) -> None:
        if self.budget is not None and self.forward + self.backward + passes > self.budget:
            raise Spent

    def _count(self, pictures: int) -> None:
        self.backward += pictures
