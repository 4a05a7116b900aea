"""How far blind luck gets: random changes of full size, and of them the one that came nearest to fooling the network. What another
black box achieves beyond this, it owes to its method.

Pure random search: Brooks 1958, Operations Research 6(2), doi:10.1287/opre.6.2.244: points drawn independently of each other, the best
kept. Here they are random signs times epsilon (linf) or random directions at full length (l2), clipped to [0, 1]: shorter changes would
only be weaker. Departures: the picture itself counts as the first point, and the search ends once the goal is reached. foolbox's repeated
additive noise (3.3.4) asks about one point at a time and stops there, too; here a batch goes through the network together.
"""

from __future__ import annotations

from collections.abc import Iterator

from techniques.base import Epsilon, torch
from techniques.base.attacks import Ball, Iterate, Loss, Norm, Queries, Task, attack, draw

DRAWN = 20  # points that are asked about together


@attack(
    title="Random search",
    paper="Brooks 1958, doi:10.1287/opre.6.2.244",
    order=68,
    knowledge="scores",
    limits="Nothing is learned from one point to the next, and among many thousand dimensions a random direction is nearly always "
    "harmless: that it fails says nothing about how robust the model is.",
)
def random_search(
    task: Task, *, epsilon: Epsilon = 16.0, norm: Norm = "linf", queries: Queries = 200, loss: Loss = "margin"
) -> Iterator[Iterate]:
    """At most `queries` forward passes per picture, in batches."""
    best = Iterate(task.pixels, task.logits(task.pixels))
    for asked in task.steps(range(1, queries, DRAWN)):
        yield best
        live = (~task.goal.reached(best.logits)).nonzero().flatten()
        if not len(live):
            return
        count = min(DRAWN, queries - asked)
        owners = live.repeat_interleave(count)
        ball = Ball(task.pixels[owners], epsilon, norm)
        points = ball.white_noise(draw(torch.randn, ball.pixels, task.generator))
        answers = task.logits(points)
        gains = task.goal.of(owners).gain(answers).view(-1, count)
        first = gains.argmax(1) + torch.arange(0, len(owners), count, device=gains.device)
        best = task.better(best, Iterate(best.pixels.index_copy(0, live, points[first]), best.logits.index_copy(0, live, answers[first])))
    yield best
