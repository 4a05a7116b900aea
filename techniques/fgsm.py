"""One step that fools a classifier: every pixel moves by the same small amount, each in the direction that hurts
the prediction most, or helps a chosen class most.

Fast gradient sign method: Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, section 4:
x + epsilon * sign(gradient of the loss at x). Departures: the class moved away from is the predicted one, since
nobody tells us the true one; a target may be named, and then its loss is descended (Kurakin, Goodfellow and Bengio
2017, arXiv:1607.02533, section 2.3); with l2 the step goes along the gradient itself (Miyato et al. 2017,
arXiv:1605.07725, section 3); the result is clipped to [0, 1]; the margin may take the place of the cross-entropy
(Carlini and Wagner 2017, arXiv:1608.04644, section V, without their confidence). The algorithm stands here
because captum's FGSM (0.9) takes gradients below 1e-6 for zero and leaves those pixels where they are.
"""

from __future__ import annotations

from techniques.base import Epsilon, LoadedModel, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.attacks import Answer, Attack, Ball, Goal, Loss, Norm, Outcome, logits_and_gradient


@technique(
    title="FGSM",
    family="Fooling it",
    paper="arXiv:1412.6572",
    order=10,
    limits="One step along the gradient is the cheapest attack, not the strongest: a model that withstands it is not "
    "robust, and at a large epsilon the step may overshoot. The picture fools this model; another one may see nothing in it.",
)
def fgsm(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    epsilon: Epsilon = 4.0,
    norm: Norm = "linf",
    loss: Loss = "cross-entropy",
    seed: Seed = 0,
) -> Answer:
    """Adversarial pixels in `[0, 1]` with their perturbation in units of intensity; `seed` draws the white noise."""
    generator = torch.Generator().manual_seed(seed)
    attack = Attack.prepare("FGSM", sample, model, target=target, epsilon=epsilon, norm=norm, loss=loss, generator=generator)
    run.check()
    outcome = fgsm_pixels(model, attack.ball, attack.goal)
    return attack.answer(outcome, steps=1, forward_passes=2, backward_passes=1)


def fgsm_pixels(model: LoadedModel, ball: Ball, goal: Goal) -> Outcome:
    """The attack on a batch: one forward and one backward pass, and one more forward pass to see what came of it."""
    _, gradient = logits_and_gradient(model, goal, ball.pixels)
    pixels = ball.project(ball.pixels + ball.radius * ball.direction(gradient))
    with torch.no_grad():
        logits = model.logits(pixels)
    return Outcome(pixels, logits, gradient.flatten(1).any(1))
