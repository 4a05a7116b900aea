"""What holds for every attack that takes steps of one size within a ball."""

from __future__ import annotations

import numpy as np
import pytest

import techniques
from tests.attack_cases import random_sample

ITERATED = ["i_fgsm", "mi_fgsm", "pgd"]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("name", ITERATED)
def test_the_picture_stays_in_the_ball_and_between_black_and_white(name, tiny_model, norm):
    sample = random_sample(tiny_model)
    settings = {"step_size": 1.5} if techniques.find(name).param("step_size") else {}
    adversarial = techniques.run(name, sample, tiny_model, epsilon=16.0, norm=norm, **settings).adversarial.values
    change = (adversarial - sample.pixels[0].numpy()).astype(np.float64)
    assert (np.abs(change).max() if norm == "linf" else np.sqrt((change**2).mean())) <= 16 / 255 + 1e-7  # float32 pixels
    assert adversarial.min() >= 0 and adversarial.max() <= 1


@pytest.mark.parametrize("name", ITERATED)
def test_every_class_of_the_tiny_network_can_be_reached_and_success_is_counted(name, tiny_models):
    model = tiny_models["cnn"]
    for target in range(model.classes):
        answer = techniques.run(name, random_sample(model), model, target=target, epsilon=64.0, steps=40)
        assert answer.predictions.top(1, row=1)[0][0] == target
        assert answer.measures.rows[0][8:10] == (40, 41) and answer.measures.rows[0][-1] == 1
