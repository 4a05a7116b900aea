"""What every attack shares. An attack is a search: a generator that yields iterates of a batch of pictures, written with `Task`
(questions to the model, counted), `Ball` and `Goal`, and registered with `attack`, which makes the report, the replay, the curves
and the control of white noise. Races, sweeps and sets run the same search by `attack_pixels`.
"""

from techniques.base.attacks.ball import Ball, Norm, StepSize, distance, draw, length, unit
from techniques.base.attacks.goal import Goal, Loss, runner_up
from techniques.base.attacks.method import Outcome, attack, attack_pixels, attacks
from techniques.base.attacks.report import Answer
from techniques.base.attacks.task import Iterate, Queries, Task

__all__ = [
    "Answer", "Ball", "Goal", "Iterate", "Loss", "Norm", "Outcome", "Queries", "StepSize", "Task",
    "attack", "attack_pixels", "attacks", "distance", "draw", "length", "runner_up", "unit",
]  # fmt: skip
