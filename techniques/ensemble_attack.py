"""One picture that fools several models at once, and who else falls for it: what is found against one network often fools
others, and what is found against several of them fools more.

Ensemble attack: Liu, Chen, Liu and Song 2017, arXiv:1611.02770, section 5: against several models the logarithm of their mean probability is
followed. Away from a class that is done here, too: what counts most is the model that still sees it. Towards a class it is turned round:
up goes the negative logarithm of the mean of exp(-gain), a soft minimum, the gain being the log probability or the margin; in the logarithm
of a mean the models that are fooled already would drown those that are not, as they do in a mean of losses when moving away (Dong et al. 2018,
arXiv:1710.06081, section 3.4). Other departures: the change stays in a ball of size epsilon, climbed by signs as in I-FGSM, where they subtract
the distance and use Adam; the class moved away from is what the model in use predicts.

Models are matched by the names of their classes, not by number. Another model sees the picture as large as it wants it, squeezed by bilinear
interpolation, which the gradient passes through. The table of who is fooled by what was found against whom is theirs of that section; with three
models or more it holds the attacks on all but one, whose own column tells whether the picture fools a network that it was never tried on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, NamedTuple, get_type_hints

from techniques.base import (
    TECHNIQUES, Epsilon, Help, LoadedModel, Note, ParameterError, Run, Sample, Seed, Several, Steps, Table, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.attacks import Answer as Report
from techniques.base.attacks import Ball, Goal, Iterate, Loss, Method, Norm, StepSize, Task, answered, attacked
from techniques.base.drawing.svg import percent
from techniques.base.hooks import gradient_at
from techniques.base.models_at_hand import THIS, chosen_models, models_at_hand, same_class
from techniques.base.transformations import fitted

_panels = list(get_type_hints(Report).items())
Answer = NamedTuple("Answer", [*_panels[:5], ("transfer", Table | None), *_panels[5:]])


@dataclass(frozen=True, eq=False)
class Member:
    """A model, and what is wanted of it: the same for all, by the name of the class."""

    model: LoadedModel
    goal: Goal

    def view(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures `[B, C, H, W]` as this model sees them."""
        return fitted(pixels, self.model.preprocessing).to(self.model.device)


def _against(members: list[Member], task: Task, *, epsilon: float, norm: str, steps: int, step_size: float, loss: str) -> Iterator[Iterate]:
    """One forward and one backward pass per step and member, and a forward pass of the task's own model to see what came of it."""
    ball, pixels = Ball(task.pixels, epsilon, norm), task.pixels
    for step in task.steps(steps):
        gains, gradients = [], []
        for member in members:
            leaf = pixels.detach().requires_grad_(True)
            with torch.enable_grad():
                gain = member.goal.gain(task.differentiable(member.view(leaf), member.model)).sum().to(pixels.device)
                gradients.append(gradient_at(gain, leaf))
            gains.append(gain.detach())
        weights = (-torch.stack(gains)).softmax(0).view(-1, 1, 1, 1, 1)
        total = (weights * torch.stack(gradients)).sum(0)
        task.see(total)
        pixels = ball.project(pixels + step_size * ball.radius * ball.direction(total))
        yield Iterate(pixels, task.logits(pixels), final=step == steps - 1)


def _method(members: list[Member]) -> Method:
    return Method(partial(_against, members), "white box", smallest=None, aims=False)


@technique(
    title="Ensemble attack",
    family="Robustness",
    paper="arXiv:1611.02770",
    order=55,
    limits="That a picture fools other networks holds for these networks: those of one family, or trained alike, fall for the same pictures. "
    "Each model sees the picture at its own size, and resizing costs the attack some of its strength.",
    assumes=_method([]).assumes,
)
def ensemble_attack(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    models: Annotated[
        tuple[str, ...], Several(models_at_hand, "or the key of another model"), Help("Networks to be fooled together, of those on this machine.")
    ] = (THIS,),
    epsilon: Epsilon = 8.0,
    norm: Norm = "linf",
    steps: Steps = 10,
    step_size: StepSize = 0.2,
    loss: Loss = "cross-entropy",
    seed: Seed = 0,
) -> Answer:
    """The report of an attack against all members, seen from the model in use; and which models fall for what is found against each of them
    alone, against all but one, and against all. Raises ParameterError where a model has to be downloaded, or none has the class."""
    used = chosen_models(models, model)
    with run.holding_beside(model.lock, *(other.lock for other in used)):
        run.check()
        index = model.target(target, sample.pixels)
        classes = {model: index, **{other: same_class(other, model.label(index)) for other in used if other is not model}}
        seen = {other: Member(other, _goal(other, own, target is not None, loss)) for other, own in classes.items() if own is not None}
        members = [seen[other] for other in used if other in seen]
        if not members:
            raise ParameterError(f"None of the chosen models has a class “{model.label(index)}”. Choose other models, or another class.")
        settings = {"epsilon": epsilon, "norm": norm, "steps": steps, "step_size": step_size, "loss": loss}
        here = replace(TECHNIQUES["ensemble_attack"], attack=_method(members))
        report = attacked(here, sample, model, run, target, seed, settings)
        told = [f"{other.title} has no class “{model.label(index)}” and is left out." for other in used if other not in seen]
        rows: list[tuple] = []
        for rows in _transfer(report, list(seen.values()), members, settings, run):
            run.show(partial(_answer, report, list(seen), rows, told))
    return _answer(report, list(seen), rows, told)


def _goal(model: LoadedModel, index: int, targeted: bool, loss: str) -> Goal:
    return Goal(torch.tensor([index], device=model.device), targeted, loss, model.multi_label)


def _transfer(report: Report, seen: list[Member], members: list[Member], settings: dict, run: Run) -> Iterator[list[tuple]]:
    """The rows of the table so far: what each model says to the picture, to white noise, and to what is found against some members and all."""
    original, noise, found = (picture.values[None] for picture in (report.original, report.white_noise, report.adversarial))
    rows = [_row("the picture itself", original, seen, run), _row("white noise of the same size", noise, seen, run)]
    some = [("", [member]) for member in members] if len(members) > 1 else []
    some += [("all but ", [other for other in members if other is not member]) for member in members] if len(members) > 2 else []
    for number, (but, against) in enumerate(some):
        yield rows
        name = but + members[number % len(members)].model.title
        task = Task(seen[0].model, original, seen[0].goal, torch.Generator(), run.part(number, len(some), f"Against {name}"), "Ensemble attack")
        *_, (last, _) = _method(against).pursue(task, settings)
        rows.append(_row(f"found against {name}", last.pixels, seen, run))
    rows.append(_row(f"found against {'all' if len(members) > 1 else members[0].model.title}", found, seen, run))
    yield rows


def _row(name: str, pixels: torch.Tensor, seen: list[Member], run: Run) -> tuple[str | int, ...]:
    """What each model says to a picture `[1, C, H, W]`, and how many of them it fools."""
    said, fooled = [], 0
    for model, goal in ((member.model, member.goal) for member in seen):
        run.check()
        with torch.no_grad():
            logits = model.logits(Member(model, goal).view(pixels))
        answer, reached = int(answered(model, goal.classes, logits)), bool(goal.reached(logits))
        said.append(f"{'yes' if reached else 'no'}, {model.label(answer)} {percent(float(model.shares(logits)[0, answer]))}")
        fooled += reached
    return name, *said, fooled


def _answer(report: Report, models: list[LoadedModel], rows: list[tuple], told: list[str]) -> Answer:
    told = [*told, "Choose more models to see who else falls for it."] if len(models) == 1 else told
    columns = ("picture", *(f"fools {model.title}" for model in models), "fooled")
    caption = "Who is fooled by what was found against whom; beside it what the model says"
    found = {**report._asdict(), "note": Note(" ".join([report.note.text, *told]))}
    return Answer(**found, transfer=Table(columns, tuple(rows), caption=caption))
