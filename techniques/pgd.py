"""A search for the worst picture nearby: many small steps against the prediction, or towards a chosen class, never
leaving the pictures that look the same.

Projected gradient descent: Madry et al. 2018, arXiv:1706.06083, section 2.1: from a random point of the ball,
repeat x <- project(x + alpha * sign(gradient of the loss at x)), and restart from other points. Departures: the
class moved away from is the predicted one, since nobody tells us the true one; a target may be named, and then its
loss is descended; with l2 the step has length alpha along the gradient; the margin loss is theirs of section 5
without its confidence. alpha is given as a share of epsilon: the default 0.25 with 10 steps can cross the ball
(2.5 * epsilon / steps, their appendix). Of several starts the one that succeeds is kept, and among equals the one
with the largest loss. The algorithm stands here because captum's PGD (0.9) takes gradients below 1e-6 for zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from techniques.base import Epsilon, Help, LoadedModel, Range, Run, Sample, Seed, Steps, TargetClass, technique, torch
from techniques.base.attacks import Answer, Attack, Ball, Goal, Loss, Norm, Outcome, logits_and_gradient

PARTIAL_ANSWERS = 4  # pictures on the way that a watcher gets to see


@technique(
    title="PGD",
    family="Fooling it",
    paper="arXiv:1706.06083",
    order=20,
    limits="A picture that PGD does not find may still exist: failure is no proof of robustness. Success says that the "
    "model can be fooled at this epsilon, not that such pictures occur by chance; compare the white noise.",
)
def pgd(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    epsilon: Epsilon = 2.0,
    norm: Norm = "linf",
    steps: Steps = 10,
    step_size: Annotated[float, Range(0.01, 2, 0.01, "of epsilon"), Help("How far one step goes, as a share of epsilon.")] = 0.25,
    random_start: Annotated[bool, Help("Begin at a random point of the ball instead of at the picture itself.")] = True,
    restarts: Annotated[int, Range(1, 20, 1, "starts"), Help("How many starts; all but the first are random, and the best is kept.")] = 1,
    loss: Loss = "cross-entropy",
    seed: Seed = 0,
) -> Answer:
    """Adversarial pixels in `[0, 1]` with their perturbation in units of intensity; `seed` draws starts and white noise."""
    generator = torch.Generator().manual_seed(seed)
    attack = Attack.prepare("PGD", sample, model, target=target, epsilon=epsilon, norm=norm, loss=loss, generator=generator)
    total = restarts * steps
    every = -(-total // PARTIAL_ANSWERS)

    def watch(taken: int, outcome: Outcome) -> None:
        if taken and taken % every == 0:
            run.show(lambda: attack.answer(outcome, steps=taken, forward_passes=taken, backward_passes=taken))

    outcome = pgd_pixels(
        model,
        attack.ball,
        attack.goal,
        steps=steps,
        step_size=step_size,
        random_start=random_start,
        restarts=restarts,
        generator=generator,
        run=run,
        watch=watch,
    )
    return attack.answer(outcome, steps=total, forward_passes=total + restarts, backward_passes=total)


def pgd_pixels(
    model: LoadedModel,
    ball: Ball,
    goal: Goal,
    *,
    steps: int,
    step_size: float,
    random_start: bool,
    restarts: int,
    generator: torch.Generator,
    run: Run,
    watch: Callable[[int, Outcome], None] = lambda taken, outcome: None,
) -> Outcome:
    """The attack on a batch: one forward and one backward pass per step, one more forward pass per start.

    `watch(steps taken, where the attack stands)` is called before every step.
    """
    best = None
    moved = torch.zeros(len(ball.pixels), dtype=torch.bool, device=ball.pixels.device)
    for step in run.steps(restarts * steps, "PGD step"):
        if step % steps == 0:
            pixels = ball.random_start(generator) if random_start or step else ball.pixels
        logits, gradient = logits_and_gradient(model, goal, pixels)
        moved = moved | gradient.flatten(1).any(1)
        watch(step, Outcome(pixels, logits, moved))
        pixels = ball.project(pixels + step_size * ball.radius * ball.direction(gradient))
        if step % steps == steps - 1:
            with torch.no_grad():
                best = better(best, Outcome(pixels, model.logits(pixels), moved), goal)
    return best._replace(moved=moved)


def better(first: Outcome | None, second: Outcome, goal: Goal) -> Outcome:
    """For each picture the outcome that reaches the goal; when both or none do, the one nearer to it."""
    if first is None:
        return second
    reached = [goal.reached(outcome.logits) for outcome in (first, second)]
    nearer = goal.gain(second.logits) > goal.gain(first.logits)
    take = torch.where(reached[0] == reached[1], nearer, reached[1])
    pixels = torch.where(take.view(-1, 1, 1, 1), second.pixels, first.pixels)
    return Outcome(pixels, torch.where(take[:, None], second.logits, first.logits), second.moved)
