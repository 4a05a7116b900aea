"""L-BFGS: the closest point across the border of a linear model, the box, bounds on what is found, photographs."""

from __future__ import annotations

import numpy as np
import torch

import techniques
from techniques.base import Run
from techniques.base.attacks import attack_pixels
from tests.attack_cases import grey, linear_model, linear_weights, random_sample


def test_on_a_linear_model_it_comes_near_the_border_and_goes_straight_to_it():
    weights = linear_weights()
    distance = float(0.5 * weights.sum() + 1) / float(weights.norm())  # of the grey picture from the border
    answer = techniques.run("lbfgs", grey(), linear_model(), target="off", searches=10, steps=15)
    change = torch.from_numpy(answer.perturbation.values).flatten()
    assert answer.measures.rows[0][-1] == 1
    assert distance <= float(change.norm()) <= 1.05 * distance  # c is found to within a few per cent
    assert float(-change @ weights) / float(change.norm() * weights.norm()) > 0.999  # straight, but for the optimiser's tolerance


def test_more_searches_never_end_with_a_larger_change(tiny_models):
    model = tiny_models["cnn"]
    sizes = [techniques.run("lbfgs", random_sample(model), model, target=2, searches=searches).measures.rows[0][3] for searches in (2, 6)]
    assert sizes[1] <= sizes[0]


def test_every_class_of_the_tiny_network_is_reached_inside_the_box(tiny_models):
    model = tiny_models["cnn"]
    for target in range(model.classes):
        answer = techniques.run("lbfgs", random_sample(model), model, target=target)
        assert answer.measures.rows[0][-1] == 1 and answer.predictions.top(1, row=1)[0][0] == target
        assert 0 <= answer.adversarial.values.min() and answer.adversarial.values.max() <= 1


def test_pictures_of_a_batch_are_attacked_each_for_itself(tiny_models):
    model, technique = tiny_models["cnn"], techniques.find("lbfgs")
    pixels = torch.cat([random_sample(model, seed).pixels for seed in (1, 2)])

    def attacked(part):
        with torch.no_grad():
            goal = technique.attack.goal(model, model.logits(part), 3)
        return attack_pixels(technique, model, part, goal, Run(), searches=4)

    together, alone = attacked(pixels), [attacked(picture[None]) for picture in pixels]
    assert together.reached.all()
    np.testing.assert_allclose(together.pixels, torch.cat([found.pixels for found in alone]), rtol=0, atol=1e-3)  # sums run in another order


def test_it_needs_a_smaller_change_than_one_step_of_fgsm_that_just_succeeds(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    found = techniques.run("lbfgs", sample, model, target=3)
    rows = [techniques.run("fgsm", sample, model, target=3, norm="l2", epsilon=epsilon).measures.rows[0] for epsilon in (0.5, 1, 2, 4, 8, 16, 32)]
    assert found.measures.rows[0][3] < min(row[3] for row in rows if row[-1])
