"""JSMA: which values a linear model's saliency map takes, all pairs looked at by a slow second implementation, bounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import Sample
from tests.attack_cases import random_sample


def three_classes():
    """A linear network on 1 x 4 x 4 pixels with three classes."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with torch.no_grad():
        network[1].weight.copy_(torch.randn(3, 16, generator=torch.Generator().manual_seed(5)))
        network[1].bias.copy_(torch.tensor([4.0, 0.0, 0.0]))
    return wrap(network, key="tiny/three", preprocessing=Preprocessing(1, (4, 4), (0.0,), (1.0,)))


def best_pair(alpha, beta, able, signs):
    """Algorithm 3 as it is written: every pair of values, every direction."""
    best, chosen = 0.0, None
    for p in range(16):
        for q in range(p + 1, 16):
            for sign_p in signs:
                for sign_q in signs:
                    rising = sign_p * alpha[p] + sign_q * alpha[q]
                    falling = sign_p * beta[p] + sign_q * beta[q]
                    if able[p] and able[q] and rising > 0 and falling < 0 and -rising * falling > best:
                        best, chosen = -rising * falling, {p: sign_p, q: sign_q}
    return chosen


@pytest.mark.parametrize(("direction", "signs"), [("both", (1, -1)), ("brighter", (1,)), ("darker", (-1,))])
def test_the_first_pair_is_the_one_that_the_paper_takes(direction, signs):
    model = three_classes()
    sample = Sample.from_pixels(torch.full((1, 4, 4), 0.5), "grey")
    weights = model.network[1].weight.detach()
    target = int(model.logits(sample.pixels)[0].topk(2).indices[1])
    expected = best_pair(weights[target].tolist(), (weights.sum(0) - weights[target]).tolist(), [True] * 16, signs)
    answer = techniques.run("jsma", sample, model, target=target, direction=direction, theta=0.25, most=100 * 2 / 16)
    change = answer.perturbation.values.ravel()
    assert {int(place): int(np.sign(change[place])) for place in change.nonzero()[0]} == expected
    np.testing.assert_allclose(np.abs(change[change.nonzero()]), 0.25, rtol=0, atol=1e-6)


def test_no_more_values_change_than_are_allowed_and_none_twice(tiny_models):
    model = tiny_models["cnn"]
    answer = techniques.run("jsma", random_sample(model), model, target=4, theta=0.05, most=1.0)
    values = 3 * 32 * 32
    assert 0 < answer.measures.rows[0][1] <= values / 100
    assert np.abs(answer.perturbation.values).max() <= 0.05 + 1e-6  # a value that changed twice would have moved twice as far


def test_every_class_of_the_tiny_network_is_reached_with_few_values(tiny_models):
    model = tiny_models["cnn"]
    for target in range(model.classes):
        answer = techniques.run("jsma", random_sample(model), model, target=target, most=20.0)
        assert answer.measures.rows[0][-1] == 1
        assert 0 <= answer.adversarial.values.min() and answer.adversarial.values.max() <= 1


def test_a_step_costs_one_pass_there_and_two_back(tiny_models):
    model = tiny_models["cnn"]
    _, *_, steps, forward, backward, reached = techniques.run("jsma", random_sample(model), model, target=4).measures.rows[0]
    assert reached and forward in (steps, steps + 1) and backward in (2 * forward, 2 * forward - 2)


def test_two_classes_whose_logits_are_opposites_can_be_swapped(tiny_models):
    model = tiny_models["single_logit"]
    answer = techniques.run("jsma", random_sample(model), model)
    assert answer.measures.rows[0][-1] == 1


def test_a_class_whose_logit_never_moves_is_reached_by_the_margin():
    from tests.attack_cases import grey, linear_model

    answer = techniques.run("jsma", grey(), linear_model(), target="off", most=100.0)  # the logit of “off” is constant
    assert answer.measures.rows[0][-1] == 1
