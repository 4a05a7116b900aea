"""What every attack shares. An attack is a search: a generator that yields iterates of a batch of pictures, written with `Task`
(questions to the model, counted), `Ball` and `Goal`, and registered with `attack`, which makes the report, the replay, the curves
and the control of white noise. Races, sweeps and sets run the same search by `attack_pixels`.
"""

from techniques.base.attacks.ball import Ball, Norm, Smallest, StepSize, distance, draw, length, unit
from techniques.base.attacks.goal import Goal, Loss, answered, runner_up
from techniques.base.attacks.method import (
    Method, Outcome, attack, attack_pixels, attacked, attacks, bounded, limit_in_words, limit_of, none_fits, settings_of,
)  # fmt: skip
from techniques.base.attacks.report import Answer
from techniques.base.attacks.task import Iterate, Queries, Task

__all__ = [
    "Answer", "Ball", "Goal", "Iterate", "Loss", "Method", "Norm", "Outcome", "Queries", "Smallest", "StepSize", "Task",
    "answered", "attack", "attack_pixels", "attacked", "attacks", "bounded", "distance", "draw", "length", "limit_in_words", "limit_of",
    "none_fits", "runner_up", "settings_of", "unit",
]  # fmt: skip
