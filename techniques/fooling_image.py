"""The score of another class climbed step by step, until the answer flips and not one step further: a picture that looks the same and is
taken for something else.

Gradient ascent on the score of a class: Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, equation 1, begun at a picture instead of
at zero and without the L2 term; every step has the same length along the gradient of the class's logit, as in the exercises of
Stanford's course CS231n. Departures: pixels stay in [0, 1], and the length is counted in them, not in normalised ones. What is climbed is
the logit alone: nothing pushes the present answer down, so it takes longer than an attack on the margin, and shows how
much of the other class can be painted into a picture unseen. No library has it as an attack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from techniques.base import Help, Range, torch
from techniques.base.attacks import Iterate, Task, attack, unit


@attack(
    title="Fooling image",
    paper="arXiv:1312.6034",
    order=25,
    aims=True,
    loss="logit",
    limits="It stops as soon as the other class wins, often by a hair: rounding or a JPEG file may undo it. How many steps it takes depends on "
    "their length, and a class that takes many is not safe, only farther.",
)
def fooling_image(
    task: Task,
    *,
    step_length: Annotated[float, Range(0.01, 5, 0.01, "L2"), Help("How far one step moves the whole picture; 1 is one pixel from black to white.")] = 0.1,
    steps: Annotated[int, Range(1, 500, 1, "steps"), Help("How many steps at most; it ends earlier, once the answer flips.")] = 100,
) -> Iterator[Iterate]:
    """One forward and one backward pass per step, and one forward pass to see that the answer has flipped."""
    pixels = task.pixels
    for step in task.steps(steps):
        logits, gradient = task.gradient(pixels)
        going = ~task.goal.reached(logits) & gradient.flatten(1).any(1)
        if step or not going.any():
            yield Iterate(pixels, logits)
        if not going.any():
            return
        climbed = (pixels + step_length * unit(gradient)).clamp(0, 1)
        pixels = torch.where(going.view(-1, 1, 1, 1), climbed, pixels)
    yield Iterate(pixels, task.logits(pixels))
