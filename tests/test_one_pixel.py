"""One pixel: the best pixel of a linear model, every pixel of a small network tried, scipy's evolution, children by hand."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, Task, attack_pixels
from techniques.one_pixel import _children, _first, _painted
from tests.attack_cases import grey, linear_model, linear_weights, random_sample


def margin_fall(answer) -> float:
    logits = answer.predictions.logits
    return float((logits[0, 1] - logits[0, 0]) - (logits[1, 1] - logits[1, 0]))


def test_on_a_linear_model_it_finds_the_pixel_of_the_largest_weight_and_its_best_colour():
    techniques.catalogue()
    answer = execute(TECHNIQUES["one_pixel"], grey(), linear_model(), {"generations": 40})
    expected, weights = np.full(16, 0.5, np.float32), linear_weights()
    expected[weights.abs().argmax()] = 0.0  # its weight is positive: black takes most of the logit away
    assert np.array_equal(answer.adversarial.values.ravel(), expected)


def test_several_pixels_are_the_best_ones_together():
    answer = execute(TECHNIQUES["one_pixel"], grey(), linear_model(), {"pixel_count": 2, "population": 200, "generations": 60})
    assert answer.measures.rows[0][1] == 2
    assert margin_fall(answer) == pytest.approx(float(0.5 * linear_weights().abs().topk(2).values.sum()), rel=1e-5)


class Hard(NamedTuple):
    """Pictures of noise, the goals, by how much each margin can be raised by one black or white pixel `[B]`, and by how much the attack raises it.

    None of these goals can be reached: no search ends early."""

    pixels: torch.Tensor
    goal: Goal
    start: torch.Tensor
    best: torch.Tensor
    gained: torch.Tensor


@pytest.fixture(scope="module")
def hard(tiny_models) -> Hard:
    model = tiny_models["one_channel"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(12)])
    logits = model.logits(pixels)
    goal, best = Goal(logits.argmin(1), True, "margin"), []
    for i, picture in enumerate(pixels):
        tried = torch.cat([picture.repeat(784, 1, 1, 1).view(784, 784).fill_diagonal_(shade) for shade in (0.0, 1.0)]).view(-1, 1, 28, 28)
        best.append(goal.of(i).repeated(len(tried)).margin(model.logits(tried)).max())
    keep = torch.stack(best) < -0.1
    assert keep.sum() > 6
    pixels, goal, start, best = pixels[keep], goal.of(keep), goal.margin(logits)[keep], torch.stack(best)[keep]
    outcome = attack_pixels(techniques.find("one_pixel"), model, pixels, goal, Run())
    assert ((outcome.pixels != pixels).flatten(1).sum(1) == 1).all()
    return Hard(pixels, goal, start, best - start, goal.margin(outcome.logits) - start)


def test_it_comes_nearly_as_far_as_trying_every_pixel_and_no_farther(hard):
    shares = hard.gained / hard.best
    assert shares.mean() > 0.75 and shares.max() <= 1.05  # a grey between may do a little better than black and white


def test_it_comes_as_far_as_the_differential_evolution_of_scipy(tiny_models, hard):
    from scipy.optimize import differential_evolution

    theirs = []
    for i, picture in enumerate(hard.pixels):

        def fitness(candidates, picture=picture, goal=hard.goal.of(i)):
            painted = _painted(picture.expand(candidates.shape[1], -1, -1, -1), torch.from_numpy(candidates.T).float().unsqueeze(1))
            return -goal.repeated(len(painted)).margin(tiny_models["one_channel"].logits(painted)).double().numpy()

        settings = {"strategy": "rand1bin", "recombination": 1, "mutation": 0.5, "polish": False, "tol": -1, "rng": 0}
        found = differential_evolution(fitness, [(0, 1)] * 3, popsize=17, maxiter=20, init="random", vectorized=True, updating="deferred", **settings)
        theirs.append(-found.fun - float(hard.start[i]))
    assert hard.gained.mean() > 0.9 * np.mean(theirs)  # 51 candidates for 20 generations, both from random beginnings


def test_a_child_is_a_candidate_and_half_the_difference_of_two_others_brought_back_into_the_picture():
    parents = torch.rand(2, 5, 1, 3, generator=torch.Generator().manual_seed(0))
    for family, children in zip(parents, _children(parents, torch.Generator().manual_seed(1))):
        possible = torch.stack([family[i] + 0.5 * (family[j] - family[k]) for i, j, k in itertools.permutations(range(5), 3)])
        possible = torch.cat([possible[..., :2] % 1, possible[..., 2:].clamp(0, 1)], -1)
        assert all((possible - child).abs().amax((1, 2)).min() < 1e-6 for child in children)
        assert len(children) == 5 and children.unique(dim=0).shape[0] > 1


def test_a_candidate_paints_its_own_pixels_and_nothing_else():
    pictures = torch.zeros(2, 3, 4, 8)
    candidates = torch.tensor([[[0.3, 0.99, 0.1, 0.2, 0.3], [1.0, 0.0, 0.4, 0.5, 0.6]], [[0.0, 0.5, 0.7, 0.8, 0.9]] * 2])
    painted = _painted(pictures, candidates)
    assert painted[0, :, 1, 7].tolist() == pytest.approx([0.1, 0.2, 0.3]) and painted[0, :, 3, 0].tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert painted[1, :, 0, 4].tolist() == pytest.approx([0.7, 0.8, 0.9])
    assert (painted > 0).flatten(1).sum(1).tolist() == [6, 3] and not pictures.any()


def test_the_first_colours_are_normal_numbers_around_grey_and_the_places_uniform(tiny_models):
    pixels = torch.zeros(1, 3, 8, 8)
    first = _first(Task(tiny_models["cnn"], pixels, Goal(torch.tensor([0]), False), torch.Generator().manual_seed(0), Run()), 5, 400)
    assert first.shape == (1, 400, 5, 5) and 0 <= first.min() and first.max() <= 1
    assert first[..., :2].std() == pytest.approx(12**-0.5, rel=0.05)  # of a uniform number
    # a normal number with deviation 127/255 around 1/2 lies below 0 or above 1 with a chance of 31.5 %
    assert float(((first[..., 2:] == 0) | (first[..., 2:] == 1)).float().mean()) == pytest.approx(0.315, abs=0.03)


def test_the_passes_are_those_of_the_generations_and_a_picture_that_is_done_costs_no_more(tiny_models):
    model = tiny_models["cnn"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(3)])
    classes = model.logits(pixels).argmax(1)
    classes[1] = (classes[1] + 1) % 5  # this one is misclassified to begin with, whatever its pixel
    settings = {"population": 10, "generations": 3}
    outcome = attack_pixels(techniques.find("one_pixel"), model, pixels, Goal(classes, False, "margin"), Run(), **settings)
    assert outcome.reached.tolist() == [False, True, False]
    assert outcome.forward == 3 * 10 + 2 * 3 * 10 and outcome.backward == 0


@pytest.mark.parametrize("pixel_count", [1, 5])
def test_no_more_pixels_change_than_may(tiny_model, pixel_count):
    answer = execute(TECHNIQUES["one_pixel"], random_sample(tiny_model), tiny_model, {"pixel_count": pixel_count, "generations": 4})
    changed = np.abs(answer.perturbation.values).max(0) > 0
    assert 1 <= changed.sum() <= pixel_count
    assert 0 <= answer.adversarial.values.min() and answer.adversarial.values.max() <= 1
