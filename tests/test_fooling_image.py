"""Fooling image: a closed form on a linear model, a plain second implementation, where it stops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import techniques
from tests.attack_cases import grey, linear_model, linear_weights, random_sample


def test_on_a_linear_model_it_walks_along_the_weights_until_the_answer_flips():
    weights = linear_weights()
    start = float(weights.sum()) * 0.5 + 1  # the logit of “on”; that of “off” is zero
    answer = techniques.run("fooling_image", grey(0.2), linear_model(scale=-1.0), target="on", step_length=0.05)
    logit = float(0.2 * weights.sum() + 1)
    steps = math.floor(logit / (0.05 * float(weights.norm()))) + 1  # -logit rises by the step times the length of the weights
    assert answer.measures.rows[0][8] == steps and answer.measures.rows[0][-1] == 1
    expected = 0.2 - steps * 0.05 * (weights / weights.norm()).numpy().reshape(1, 4, 4)
    np.testing.assert_allclose(answer.adversarial.values, expected.clip(0, 1), rtol=0, atol=1e-6)  # some dozen roundings
    assert start > logit > 0


def test_a_plain_loop_gives_the_same_pixels_and_stops_at_the_same_step(tiny_models):
    model, target = tiny_models["cnn"], 3
    sample = random_sample(model)
    pixels, steps = sample.pixels, 0
    while int(model.logits(pixels).argmax()) != target:
        pixels = pixels.detach().requires_grad_(True)
        model.logits(pixels)[0, target].backward()
        pixels = (pixels + 0.1 * pixels.grad / pixels.grad.norm()).clamp(0, 1).detach()
        steps += 1
    answer = techniques.run("fooling_image", sample, model, target=target)
    assert answer.measures.rows[0][8:11] == (steps, steps + 1, steps + 1)
    np.testing.assert_allclose(answer.adversarial.values, pixels[0].numpy(), rtol=0, atol=1e-5)  # the length is divided by twice


def test_the_runner_up_is_aimed_at_where_no_class_is_named(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    second = int(model.logits(sample.pixels)[0].topk(2).indices[1])
    answer = techniques.run("fooling_image", sample, model)
    assert int(answer.predictions.logits[1].argmax()) == second


def test_a_picture_that_is_of_the_class_already_is_left_alone(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    answer = techniques.run("fooling_image", sample, model, target=model.target(None, sample.pixels))
    assert not answer.perturbation.values.any() and answer.measures.rows[0][8:] == (1, 1, 1, 1)


@pytest.mark.parametrize("steps", [1, 3])
def test_it_stops_after_so_many_steps(tiny_models, steps):
    model = tiny_models["cnn"]
    answer = techniques.run("fooling_image", random_sample(model), model, target=4, step_length=0.01, steps=steps)
    assert answer.measures.rows[0][8] == steps
    assert torch.linalg.vector_norm(torch.from_numpy(answer.perturbation.values)) <= 0.01 * steps * (1 + 1e-5)
