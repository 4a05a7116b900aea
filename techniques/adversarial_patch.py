"""A sticker that makes the model see a class of your choice, wherever it lies on whatever picture: it is learned from your
pictures under random places, sizes and turns. Send it on to Place a patch and try it yourself.

Adversarial patch: Brown, Mane, Roy, Abadi and Gilmer 2017, arXiv:1712.09665, section 2: the expected log probability of a class is climbed over
pictures, places, sizes and rotations. Departures: places lie wholly inside the picture; a step of fixed length follows the sign of gathered
gradients (Dong et al. 2018, arXiv:1710.06081), which needs no tuned rate and comes as far as Adam in as many steps (measured on
bundled/imagenette); all pictures of one step have the patch in one size, drawn anew at each step.

Success is the share of pictures, of those that were not of this class, that are answered as it with the patch at a fresh random place; beside it
that of a patch of white noise. The algorithm stands here because ART (1.20), the one library tried that has it, came to 9 % of unmet photographs in
as many passes as this one needs for 85 % (40 steps of Adam of the same length, a tenth of the picture), and cannot be stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, NamedTuple

from techniques.base import (
    Animation, Curve, Gallery, Help, LoadedModel, Note, ParameterError, Picture, Range, Run, Samples, Seed, Steps, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.attacks import Goal, Task, draw, runner_up, unit
from techniques.base.attacks.one_for_all import Change, HeldOut, examples, hold_out, logits_of
from techniques.base.drawing.svg import percent
from techniques.base.gradients import batches
from techniques.base.hooks import gradient_at
from techniques.base.placing import Shape, anywhere, placed

AREAS = (0.02, 0.05, 0.1, 0.2, 0.35)  # shares of the picture at which success is measured
BATCH = 8  # pictures with the patch that one step looks at
FRAMES = 40
KEPT = 0.9  # of the gradients gathered so far
RATE = 8.0  # frames per second
LINES = ("the patch", "a patch of noise", "mean probability with the patch")
SHOWN = 4  # pictures
TRAINING = "Mean probability of the class on the pictures of each step, with the patch at random places and in random sizes"


class Answer(NamedTuple):
    patch: Picture
    examples: Gallery
    note: Note
    success: Curve | None
    training: Curve
    replay: Animation


@dataclass(eq=False)
class Sticker:
    """A patch on its way `[1, C, H, W]`, and one of white noise; how it lies; the pictures it is judged by, and the area where they are shown; frames
    by step with the mean probability of the class; and for each area the shares that both turn, and the mean probability with the patch."""

    samples: Samples
    model: LoadedModel
    goal: Goal
    shape: str
    rotation: float
    judged: list[int]
    kind: str
    area: float
    patch: torch.Tensor
    noise: torch.Tensor
    moved: bool = False
    frames: list[tuple[int, torch.Tensor, float]] = field(default_factory=list)
    success: dict[float, tuple[float, float, float]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return self.model.label(int(self.goal.classes))

    def on(self, patch: torch.Tensor, area: float, generator: torch.Generator) -> Change:
        """The change that puts a patch of this size at a random place of each picture."""
        return lambda pixels: placed(pixels, patch, [anywhere(area, self.shape, self.rotation, pixels.shape[2:], generator) for _ in pixels], self.shape)


@technique(
    title="Adversarial patch",
    family="Robustness",
    paper="arXiv:1712.09665",
    order=75,
    limits="It is learned for this model and these sizes, on a screen: a printer and a camera change colours, and another model may see nothing in it. "
    "With few pictures it may lean on what they have in common.",
    assumes="White box over a set: the attacker has the network and some pictures, may change nothing but what the patch covers, and that as much as "
    "he likes. Goal: targeted misclassification, as the class chosen at the top or else the second most probable one over the set.",
)
def adversarial_patch(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    shape: Shape = "round",
    smallest: Annotated[int, Range(1, 60, 1, "% of the picture"), Help("The smallest area that it learns to work at.")] = 5,
    largest: Annotated[int, Range(1, 60, 1, "% of the picture"), Help("The largest area that it learns to work at.")] = 20,
    rotation: Annotated[int, Range(0, 180, 1, "degrees"), Help("How far it may be turned, either way.")] = 20,
    steps: Steps = 40,
    step_size: Annotated[float, Range(0.005, 0.5, 0.005, "of the range"), Help("How far a step moves each value, from black to white being 1.")] = 0.05,
    held_out: HeldOut = 20,
    seed: Seed = 0,
) -> Answer:
    """The patch `[C, H, W]` as large as a picture, to be made smaller; some pictures with it; shares of success, 0 to 1, over its area; and how it
    came about, with the mean probability of the class. Raises ParameterError when every picture is of the class already."""
    generator = torch.Generator().manual_seed(seed)
    (before,) = logits_of(samples, model, run.part(0, 3, "Before"), lambda pixels: pixels)
    aim = int(runner_up(model, before.mean(0, keepdim=True))) if target is None else target
    goal = Goal(torch.tensor([aim]), True, multi_label=model.multi_label)
    learned, held = hold_out(samples, held_out, generator)
    others = [position for position, there in enumerate(goal.repeated(len(samples)).reached(before)) if not there]
    if not others and target is not None:
        raise ParameterError(f"Every picture is answered as “{model.label(target)}” already. Choose another class, or add other pictures.")
    judged = [position for position in held if position in others]
    kind, start = "held out" if judged else "in the set", torch.full_like(samples[0].pixels, 0.5)
    low, high = sorted((smallest / 100, largest / 100))
    made = Sticker(samples, model, goal, shape, rotation, judged or others or learned, kind, (low + high) / 2, start, draw(torch.rand, start, generator))
    gathered, show = torch.zeros_like(start), partial(_answer, made, seed)
    for step in run.part(1, 3, "Patch").steps(steps + 1, "step"):
        positions = [learned[number] for number in torch.randint(len(learned), (len(batches(model, BATCH)[0]),), generator=generator)]
        area = low + (high - low) * float(torch.rand((), generator=generator))
        gradient, share = _gradient(made, samples.only(positions).pixels, area, generator, run)
        if step % -(-steps // FRAMES) == 0 or step == steps:
            made.frames.append((step, made.patch[0], share))
        gathered = KEPT * gathered + unit(gradient, 1)
        if gradient.any() and step < steps:
            made.patch = (made.patch + step_size * gathered.sign()).clamp(0, 1)
        run.show(show)
    for number, area in enumerate(AREAS):
        fresh = (made.on(patch, area, torch.Generator().manual_seed(seed)) for patch in (made.patch, made.noise))
        part = run.part(2 * len(AREAS) + number, 3 * len(AREAS), f"{100 * area:.0f} % of the picture")
        said = logits_of(samples.only(made.judged), model, part, *fresh)
        reached = (goal.repeated(len(made.judged)).reached(logits) for logits in said)
        made.success[area] = *(float(each.float().mean()) for each in reached), float(model.shares(said[0])[:, aim].mean())
        run.show(show)
    return show()


def _gradient(made: Sticker, pixels: torch.Tensor, area: float, generator: torch.Generator, run: Run) -> tuple[torch.Tensor, float]:
    """Gradient `[1, C, H, W]` at the patch of what it gains on these pictures, at random places, and the mean probability of the class there."""
    goal = replace(made.goal, classes=made.goal.classes.to(pixels.device)).repeated(len(pixels))
    task, leaf = Task(made.model, pixels, goal, generator, run), made.patch.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = task.differentiable(made.on(leaf, area, generator)(pixels))
        gradient = gradient_at(goal.gain(logits).sum(), leaf)
    task.see(gradient)
    made.moved |= bool(task.moved)
    return gradient, float(made.model.shares(logits.detach())[:, int(made.goal.classes)].mean())


def _answer(made: Sticker, seed: int) -> Answer:
    steps, frames, shares = zip(*made.frames)
    names = tuple(f"step {step}: {made.label} {percent(share)}" for step, share in zip(steps, shares))
    over_steps = Curve(torch.tensor(steps).float(), {made.label: torch.tensor(shares)}, x_label="step", y_label="probability", caption=TRAINING)
    return Answer(
        Picture(made.patch[0], label=f"Patch for “{made.label}”, {made.shape}", caption="The patch; send it to Place a patch to put it where you like"),
        _examples(made, seed),
        Note(_story(made)),
        _success(made) if made.success else None,
        over_steps,
        Animation(torch.stack(frames), RATE, names, caption="The patch on its way"),
    )


def _examples(made: Sticker, seed: int) -> Gallery:
    kinds = {"with the patch": made.patch, "with noise": made.noise}
    changes = {kind: made.on(patch, made.area, torch.Generator().manual_seed(seed)) for kind, patch in kinds.items()}
    labels = {"with the patch": f"Patch for “{made.label}”", "with noise": "Patch of noise"}
    shown = examples(made.samples.only(made.judged[:SHOWN]), made.model, changes, labels)
    return replace(shown, caption=f"At random places, on {100 * made.area:.0f} % of the picture")


def _success(made: Sticker) -> Curve:
    areas = torch.tensor([100 * area for area in made.success])
    lines = {name: torch.tensor(shares) for name, shares in zip(LINES, zip(*made.success.values()))}
    caption = f"The share of {len(made.judged)} pictures {made.kind} that are answered as “{made.label}”, at fresh places, and its mean probability"
    return Curve(areas, lines, x_label="% of the picture", y_label="success", caption=caption)


def _story(made: Sticker) -> str:
    """The result in a sentence or two."""
    told = [] if made.success else [f"Learning to be taken for “{made.label}”."]
    if made.success:
        area = min(made.success, key=lambda area: abs(area - made.area))
        patch, noise, _ = made.success[area]
        count = f"{len(made.judged)} picture{'s' * (len(made.judged) > 1)} {made.kind}"
        told.append(f"On {100 * area:.0f} % of the picture the patch makes {patch:.0%} of {count} “{made.label}”, a patch of noise {noise:.0%}.")
    if not made.moved:
        told.append("The gradient is zero: the patch cannot move; nothing on these pictures moves the class.")
    return " ".join(told)
