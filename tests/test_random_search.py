"""Random search: what luck is worth on a linear model, by counting all cases; that the best of what was asked is kept."""

from __future__ import annotations

import itertools

import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, attack_pixels
from tests.attack_cases import grey, linear_model, linear_weights, random_sample


def searched(model, pixels, classes, **settings):
    return attack_pixels(techniques.find("random_search"), model, pixels, Goal(classes, targeted=False, loss="margin"), Run(), **settings)


def asked(model, work) -> torch.Tensor:
    """All pictures that go through the network during the work, before normalisation where there is none."""
    seen = []
    handle = model.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    try:
        work()
    finally:
        handle.remove()
    return torch.cat(seen)


def test_it_succeeds_as_often_as_counting_all_cases_says():
    epsilon, tries, runs = 70.0, 9, 300
    signs = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=16)))
    margins = 0.5 * linear_weights().sum() + 1 + epsilon / 255 * signs @ linear_weights()
    chance = 1 - float((margins > 0).float().mean()) ** tries
    pixels, classes = grey().pixels.expand(runs, -1, -1, -1), torch.ones(runs, dtype=torch.long)
    outcome = searched(linear_model(), pixels, classes, epsilon=epsilon, queries=tries + 1)
    deviation = (chance * (1 - chance) / runs) ** 0.5
    assert 0.2 < chance < 0.8  # or the next line would say little
    assert float(outcome.reached.float().mean()) == pytest.approx(chance, abs=4 * deviation)  # one in 16,000 seeds is farther off


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_best_of_all_that_was_asked_is_kept_and_all_of_it_lies_at_full_distance(norm):
    model, sample, found = linear_model(), grey(), []
    settings = {"epsilon": 10.0, "norm": norm, "queries": 70}
    pictures = asked(model, lambda: found.append(searched(model, sample.pixels, torch.tensor([1]), **settings)))
    changes = pictures[1:] - sample.pixels  # the picture itself is the first
    sizes = changes.abs().amax((1, 2, 3)) if norm == "linf" else changes.square().mean((1, 2, 3)).sqrt()
    assert len(pictures) == found[0].forward == 70
    torch.testing.assert_close(sizes, torch.full((69,), 10 / 255), rtol=1e-5, atol=0)  # float32 pixels near 0.5
    margins = model.logits(pictures)[:, 1] - model.logits(pictures)[:, 0]
    assert torch.equal(found[0].pixels[0], pictures[margins.argmin()])


def test_pictures_that_have_reached_the_goal_are_asked_about_no_more(tiny_models):
    model = tiny_models["one_channel"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(4)])
    classes = model.logits(pixels).argmax(1)
    classes[1] = (classes[1] + 1) % 10  # this one is misclassified to begin with
    outcome = searched(model, pixels, classes, epsilon=0.0, queries=50)
    assert outcome.reached.tolist() == [False, True, False, False]
    assert outcome.forward == 4 + 3 * 49 and torch.equal(outcome.pixels, pixels)


def test_its_white_noise_is_as_strong_as_one_of_its_own_points(tiny_models):
    answer = execute(TECHNIQUES["random_search"], random_sample(tiny_models["cnn"]), tiny_models["cnn"], {"epsilon": 8.0})
    assert answer.measures.rows[0][4] == pytest.approx(answer.measures.rows[1][4]) == pytest.approx(8, abs=1e-4)
    assert "Black box with scores" in TECHNIQUES["random_search"].assumes
