"""Carlini-Wagner: the distance from the border of a linear model, bounds, confidence, no longer a change than DeepFool's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from techniques.base import Run
from techniques.base.attacks import attack_pixels
from tests.attack_cases import grey, linear_model, linear_weights, random_sample, squeezenet_and_photographs


def test_on_a_linear_model_it_ends_at_the_border():
    weights = linear_weights()
    distance = float(0.5 * weights.sum() + 1) / float(weights.norm())  # of the grey picture from the border
    answer = techniques.run("carlini_wagner", grey(), linear_model())
    assert answer.measures.rows[0][-1] == 1
    assert distance <= answer.measures.rows[0][3] <= 1.02 * distance  # the optimiser's direction is not exactly that of the weights


def test_a_confidence_is_kept_as_a_margin(tiny_models):
    model = tiny_models["cnn"]
    logits = techniques.run("carlini_wagner", random_sample(model), model, target=3, confidence=2.0).predictions.logits[1]
    assert logits[3] - np.delete(logits, 3).max() >= 2.0 - 1e-4


def test_every_class_of_the_tiny_network_is_reached_between_black_and_white(tiny_models):
    model = tiny_models["cnn"]
    for target in range(model.classes):
        answer = techniques.run("carlini_wagner", random_sample(model), model, target=target)
        assert answer.predictions.top(1, row=1)[0][0] == target and answer.measures.rows[0][-1] == 1
        assert 0 <= answer.adversarial.values.min() and answer.adversarial.values.max() <= 1


def test_pictures_of_a_batch_do_not_disturb_each_other(tiny_models):
    model, technique = tiny_models["cnn"], techniques.find("carlini_wagner")
    pixels = torch.cat([random_sample(model, seed).pixels for seed in (1, 2)])

    def sizes(part):
        with torch.no_grad():
            goal = technique.attack.goal(model, model.logits(part), None)
        found = attack_pixels(technique, model, part, goal, Run())
        assert found.reached.all()
        return (found.pixels - part).flatten(1).norm(dim=1)

    together, alone = sizes(pixels), torch.cat([sizes(picture[None]) for picture in pixels])
    np.testing.assert_allclose(together, alone, rtol=0.02)  # a batch rounds differently, and a search of 120 steps makes more of it


def test_on_photographs_it_needs_no_longer_a_change_than_deep_fool(shared_folder):
    model, samples = squeezenet_and_photographs(shared_folder)
    sizes = {name: [techniques.run(name, sample, model).measures.rows[0] for sample in samples[:3]] for name in ("carlini_wagner", "deep_fool")}
    assert all(row[-1] for rows in sizes.values() for row in rows)
    assert np.median([row[3] for row in sizes["carlini_wagner"]]) <= np.median([row[3] for row in sizes["deep_fool"]])


@pytest.mark.parametrize("steps", [5, 20])
def test_a_step_costs_one_pass_each_way(tiny_models, steps):
    model = tiny_models["cnn"]
    row = techniques.run("carlini_wagner", random_sample(model), model, searches=1, steps=steps).measures.rows[0]
    assert row[10] == steps + 1 and row[9] - row[10] in (0, 10)  # ten halvings at the end, where there is a success
