"""From a search to a technique: `@attack` registers a generator of iterates as an attack with the one report, and gives other
techniques (races, sweeps, sets) the same search on many pictures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_type_hints

from model_zoo.deferred import torch
from model_zoo.errors import ParameterError
from model_zoo.loaded import LoadedModel
from techniques.base.attacks.ball import Ball, distance, draw, length, unit
from techniques.base.attacks.goal import Goal, runner_up
from techniques.base.attacks.record import Record
from techniques.base.attacks.report import Answer, Report
from techniques.base.attacks.task import Iterate, Spent, Task
from techniques.base.parameters import Seed, TargetClass
from techniques.base.registry import TECHNIQUES, Technique, in_order, technique
from techniques.base.run import Run
from techniques.base.sample import Sample

FAMILIES = {"white box": "Fooling it", "scores": "Black box", "decisions": "Black box"}
KNOWLEDGE = {
    "white box": "White box: the attacker has the network itself and follows its gradient.",
    "scores": "Black box with scores: the attacker sees only the numbers that the network answers with; every question is counted.",
    "decisions": "Black box with decisions: the attacker learns only which class comes out; every question is counted.",
}
AIM = "misclassification as any other class, or with a class chosen at the top, targeted misclassification"
AIMED = "targeted misclassification, as the class chosen at the top or else the runner-up"
SIZES = {"l0": "the number of pixels that change", "l2": "the Euclidean length of the change", "linf": "the largest change of a pixel"}

Search = Callable[..., Iterator[Iterate]]


@dataclass(frozen=True)
class Method:
    """An attack as a search on a batch. `knowledge` is one of KNOWLEDGE; `smallest` names the norm of the change that it makes
    small once the goal is reached, unless its setting norm names another, None where it makes none small; `aims` says that it
    needs a class to aim at; `loss` is what it climbs where no setting says so."""

    search: Search
    knowledge: str
    smallest: Literal["l0", "l2", "linf"] | None
    aims: bool
    loss: str = "cross-entropy"

    @property
    def assumes(self) -> str:
        """The card: what the attacker knows and wants, in the taxonomy of Papernot et al. 2016, arXiv:1511.07528, section II."""
        settings = inspect.signature(self.search).parameters
        if self.smallest:
            size = "in the norm that is chosen" if "norm" in settings else SIZES[self.smallest]
            limit = f"It looks for the smallest change: {size}."
        else:
            limit = "Epsilon limits the change." if "epsilon" in settings else "It ends where the goal is reached; nothing else limits the change."
        return f"{KNOWLEDGE[self.knowledge]} Goal: {AIMED if self.aims else AIM}; short of that, confidence reduction. {limit}"

    def goal(self, model: LoadedModel, logits: torch.Tensor, target: torch.Tensor | int | None, loss: str | None = None) -> Goal:
        """For pictures with these logits `[B, K]`: towards the `target`, or away from what is predicted; towards the runner-up where
        one has to be aimed at."""
        loss = loss or self.loss
        if target is None:
            return Goal(runner_up(model, logits) if self.aims else model.predicted(logits), self.aims, loss, model.multi_label)
        return Goal(torch.as_tensor(target, device=logits.device).expand(len(logits)), True, loss, model.multi_label)

    def pursue(self, task: Task, settings: dict[str, Any]) -> Iterator[tuple[Iterate, Iterate]]:
        """Every iterate, and the best one so far, until the search ends or the budget of the task is spent."""
        measure = partial(distance, norm=settings.get("norm", self.smallest)) if self.smallest else None
        search, best = self.search(task, **settings), None
        while True:
            try:
                with torch.no_grad():  # a generator must not leave its mode to whoever reads it
                    iterate = next(search, None)
            except Spent:
                return
            if iterate is None:
                return
            if iterate.final:
                best = task.better(best, iterate, measure)
            yield iterate, best or iterate


class Outcome(NamedTuple):
    """How far an attack on a batch came: pixels `[B, C, H, W]`, their logits `[B, K]`, whether the goal is reached, bool `[B]`, how many
    pictures went through the network, forward and backward, and as a control white noise of the same size `[B, C, H, W]`."""

    pixels: torch.Tensor
    logits: torch.Tensor
    reached: torch.Tensor
    forward: int
    backward: int
    noise: torch.Tensor


def attacks() -> dict[str, str]:
    """Title by name of every attack on single pictures, in the order of the page."""
    return {technique.name: technique.title for technique in in_order(TECHNIQUES.values()) if technique.attack}


def none_fits(model: LoadedModel) -> str | None:
    """Why no attack can be run on this model; None when one can."""
    return None if any(TECHNIQUES[name].why_not(model) is None for name in attacks()) else "none of the attacks works on it."


def bounded() -> dict[str, str]:
    """Title by name of the attacks whose change epsilon limits."""
    return {name: title for name, title in attacks().items() if TECHNIQUES[name].param("epsilon")}


def settings_of(technique: Technique, **wanted: Any) -> dict[str, Any]:
    """All settings of an attack: what is `wanted` where it has such a setting and the value lies in its range, else its own default."""
    settings = {param.name: param.default for param in technique.own_params}
    return settings | {name: value for name, value in wanted.items() if name in settings and _allowed(technique, name, value)}


def _allowed(technique: Technique, name: str, value: Any) -> bool:
    try:
        technique.param(name).check(value, None)
    except ParameterError:
        return False
    return True


def limit_of(technique: Technique, settings: Mapping[str, Any]) -> str:
    """What limits the change under these settings, in a few words."""
    smallest = technique.attack.smallest
    return limit_in_words(settings) or (f"smallest {settings.get('norm', smallest)}" if smallest else "nothing")


def attack_pixels(
    technique: Technique, model: LoadedModel, pixels: torch.Tensor, goal: Goal, run: Run, *,
    seed: int = 0, budget: int | None = None, watch: Callable[[Task, Iterate], None] | None = None, **settings: Any,
) -> Outcome:  # fmt: skip
    """One attack on a batch `[B, C, H, W]`, with its own `settings`; those that are not given have their defaults.

    On a single picture it finds what the technique finds with this seed. With a `budget` of so many passes per picture, there and back,
    the best that was found until then counts, and where it was spent before anything was, the pictures as they are. `watch` is
    handed the task and the best so far after each iterate.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = draw(torch.randn, pixels, generator)
    task = Task(model, pixels, goal, generator, run, technique.title, None if budget is None else budget * len(pixels))
    settings, best = settings_of(technique) | settings, None
    for _, best in technique.attack.pursue(task, settings):
        if watch:
            watch(task, best)
    if best is None:
        with torch.no_grad():
            best = Iterate(pixels, model.logits(pixels))
    noise = _white_noise(pixels, best.pixels, drawn, settings)
    return Outcome(best.pixels, best.logits, goal.reached(best.logits), task.forward, task.backward, noise)


def attack(
    *,
    title: str,
    paper: str,
    limits: str,
    order: int,
    knowledge: str = "white box",
    smallest: Literal["l0", "l2", "linf"] | None = None,
    aims: bool = False,
    loss: str = "cross-entropy",
    why_not: Callable[[LoadedModel], str | None] = lambda model: None,
) -> Callable[[Search], Search]:
    """Register a search `(task, *, settings...)`, a generator of iterates, as the technique named after its module.

    It gets the settings target and seed beside its own; `epsilon`, `norm` and `loss` mean the same in every attack that has them. What is climbed
    is `loss` only where the search has no such setting.
    The last of what it yields that is `final` need not be the best: the best of them is kept.
    """

    def register(search: Search) -> Search:
        own = inspect.signature(search).parameters.get("loss")
        method = Method(search, knowledge, smallest, aims, own.default if own else loss)

        def run_attack(sample: Sample, model: LoadedModel, run: Run, *, target: int | None = None, seed: int = 0, **settings: Any) -> Answer:
            return attacked(TECHNIQUES[name], sample, model, run, target, seed, settings)

        name = search.__module__.rpartition(".")[2]
        run_attack.__module__, run_attack.__name__, run_attack.__doc__ = search.__module__, name, search.__doc__
        _sign(run_attack, search)
        technique(
            title=title, family=FAMILIES[knowledge], paper=paper, limits=limits, order=order, why_not=why_not, assumes=method.assumes, attack=method
        )(run_attack)
        return search

    return register


def _sign(function: Callable, search: Search) -> None:
    """Give the technique the signature that the registry reads: the search's settings between target and seed."""
    hints = get_type_hints(search, include_extras=True)
    own = [each for each in inspect.signature(search).parameters.values() if each.kind is each.KEYWORD_ONLY]
    shared = {"target": (TargetClass, None), "seed": (Seed, 0)}
    made = {name: inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default) for name, (_, default) in shared.items()}
    plain = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("sample", "model", "run")]
    function.__signature__ = inspect.Signature([*plain, made["target"], *own, made["seed"]])
    function.__annotations__ = {
        "sample": Sample, "model": LoadedModel, "run": Run, "target": TargetClass,
        **{each.name: hints[each.name] for each in own}, "seed": Seed, "return": Answer,
    }  # fmt: skip


def attacked(
    technique: Technique, sample: Sample, model: LoadedModel, run: Run, target: int | None, seed: int, settings: dict[str, Any]
) -> Answer:
    """The report of one attack on one picture; unfinished ones are shown on the way."""
    generator = torch.Generator().manual_seed(seed)
    drawn = draw(torch.randn, sample.pixels, generator)
    run.check()
    with torch.no_grad():
        start = model.logits(sample.pixels)
    goal = technique.attack.goal(model, start, target, settings.get("loss"))
    task = Task(model, sample.pixels, goal, generator, run, technique.title)
    record = Record(sample.pixels, goal)
    record.add(sample.pixels, start, 0, 0)
    report = Report(sample, model, task, record, start, limit_in_words(settings), _told(settings))
    best = Iterate(sample.pixels, start)

    def answer(best: Iterate, finished: bool) -> Answer:
        return report.answer(best, _white_noise(sample.pixels, best.pixels, drawn, settings), finished)

    for iterate, best in technique.attack.pursue(task, settings):
        record.add(iterate.pixels, iterate.logits, task.forward, task.backward)
        run.show(partial(answer, best, finished=False))
    run.check()
    record.finish(best.pixels, best.logits)
    return answer(best, finished=True)


def limit_in_words(settings: Mapping[str, Any]) -> str | None:
    """What epsilon limits, as a part of a name; None where there is none."""
    if "epsilon" not in settings:
        return None
    return f"epsilon {settings['epsilon']:g}/255{' (l2)' * (settings.get('norm') == 'l2')}"


def _told(settings: Mapping[str, Any]) -> str | None:
    """The same as the rest of "by moving"."""
    if "epsilon" not in settings:
        return None
    size = f"{settings['epsilon']:g}/255"
    return f"the pixels {size} in root mean square" if settings.get("norm") == "l2" else f"each pixel at most {size}"


def _white_noise(pixels: torch.Tensor, found: torch.Tensor, drawn: torch.Tensor, settings: Mapping[str, Any]) -> torch.Tensor:
    """White noise of the size that epsilon allows, or else of the length of the change that was found."""
    if "epsilon" in settings:
        return Ball(pixels, settings["epsilon"], settings.get("norm", "linf")).white_noise(drawn)
    return (pixels + length(found - pixels) * unit(drawn)).clamp(0, 1)
