"""HopSkipJump: that it sees decisions alone, the distance to the plane of a linear model, the normal of that plane, starts, a peer."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import techniques
from model_zoo.loaded import wrap
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, Task, attack_pixels
from techniques.hop_skip_jump import THETA, _noise, _normal, _on_boundary
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample


def attacked(sample, model, run=None, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["hop_skip_jump"], sample, model, settings, run)


def away(model, pixels) -> Task:
    """The task of leaving the predicted class."""
    return Task(model, pixels, Goal(model.logits(pixels).argmax(1), False), torch.Generator().manual_seed(0), Run())


class Decisions(nn.Module):
    """A network that tells only which class comes first: all its logits are 0 but that one."""

    def __init__(self, network: nn.Module, height: float):
        super().__init__()
        self.network, self.height = network, height

    def forward(self, pixels):
        logits = self.network(pixels)
        return self.height * nn.functional.one_hot(logits.argmax(1), logits.shape[1]).float()


def test_of_a_network_that_tells_only_its_decision_it_makes_the_same_picture(tiny_models):
    model = tiny_models["one_channel"]
    found = []
    for height in (None, 1.0, 1e6):
        network = model.network if height is None else Decisions(model.network, height)
        told = wrap(network, key="tiny/told", preprocessing=model.preprocessing, labels=model.labels)
        found.append(attacked(random_sample(model), told, target=None, queries=400).adversarial.values)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[1], found[2])


def test_on_a_linear_model_it_comes_to_the_foot_of_the_perpendicular():
    weights, sample = linear_weights(), grey()
    margin = float(0.5 * weights.sum() + 1)
    answer = attacked(sample, linear_model(), queries=3000)
    nearest = margin / float(weights.norm())
    assert answer.measures.rows[0][-1] == 1
    assert nearest <= answer.measures.rows[0][3] < 1.02 * nearest
    assert 0 < answer.adversarial.values.min() and answer.adversarial.values.max() < 1  # so that clipping has no part in it


def test_the_normal_of_a_plane_is_found_as_closely_as_signs_allow():
    weights, count = linear_weights(), 2000
    task = away(linear_model(), grey().pixels)
    foot = grey().pixels - ((0.5 * weights.sum() + 1) / weights.norm() ** 2 * weights).view(1, 1, 4, 4)
    normal = _normal(task, foot, count, 4, torch.tensor([1.0]))
    cosine = -float(normal.flatten() @ weights / weights.norm())
    # the mean of sign(n . u) u over directions u of length 1 is about sqrt(2 / (pi d)) n, the rest is noise of length sqrt(1 / count)
    expected = 1 / math.sqrt(1 + math.pi * 16 / (2 * count))
    assert float(normal.norm()) == pytest.approx(1, abs=1e-5) and cosine == pytest.approx(expected, abs=0.005)


def test_a_point_on_the_boundary_succeeds_and_a_little_nearer_to_the_picture_none_does(tiny_models):
    model = tiny_models["one_channel"]
    task = away(model, random_sample(model).pixels)
    noise = _noise(task, 20)
    far = noise[task.goal.repeated(20).reached(model.logits(noise))][:1]
    point = _on_boundary(task, far)
    nearer = task.pixels + (1 - 2 * THETA) * (point - task.pixels)
    assert task.goal.reached(model.logits(point)) and not task.goal.reached(model.logits(nearer))


def test_noise_has_grains_of_all_sizes_and_one_seed(tiny_models):
    task = away(tiny_models["cnn"], random_sample(tiny_models["cnn"]).pixels)
    noise = _noise(task, 6)
    steps = noise.diff(dim=3).abs().mean((1, 2, 3))
    assert noise.shape == (6, 3, 32, 32) and (steps.diff() < 0).all() and steps[5] < 1e-6  # the last is one colour


@pytest.mark.parametrize("queries", [200, 500])
def test_it_never_asks_more_than_it_may_and_each_iterate_after_the_first_succeeds_ever_nearer(tiny_model, queries):
    shown, sample = [], random_sample(tiny_model)
    answer = attacked(sample, tiny_model, Run(show=shown.append), queries=queries)
    assert answer.measures.rows[0][9] <= queries and answer.measures.rows[0][10] == 0
    sizes = [early.measures.rows[0][3] for early in shown[1:]]
    assert all(early.measures.rows[0][-1] == 1 for early in shown[1:])
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]


def test_where_no_noise_is_taken_for_the_target_it_says_so_and_leaves_the_picture_alone():
    model = linear_model(scale=1e-3)  # its “off” needs a darkness that is not in [0, 1]
    with torch.no_grad():
        model.network[1].bias[1] = 10.0
    answer = attacked(grey(), model, target="off", queries=200)
    assert answer.note.text.endswith("No picture to start from was found: no noise that was tried is taken for the class. Choose another one.")
    assert not answer.perturbation.values.any() and answer.measures.rows[0][9] <= 60


def test_a_target_that_noise_is_taken_for_is_reached(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    noise = _noise(away(model, sample.pixels), 20)
    target = int(model.logits(noise).argmax(1).mode().values)
    other = replace(sample, pixels=next(p for p in torch.rand(50, 1, 3, 32, 32) if int(model.logits(p).argmax()) != target))
    answer = attacked(other, model, target=target)
    assert answer.predictions.top(1, row=1)[0][0] == target and answer.measures.rows[0][-1] == 1


def test_pictures_of_a_batch_are_each_brought_near_and_one_at_its_goal_is_left_alone(tiny_models):
    model = tiny_models["one_channel"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(3)])
    classes = model.logits(pixels).argmax(1)
    classes[1] = (classes[1] + 1) % 10
    outcome = attack_pixels(techniques.find("hop_skip_jump"), model, pixels, Goal(classes, False), Run(), queries=400)
    assert outcome.reached.all() and 3 < outcome.forward <= 3 + 2 * 399
    sizes = (outcome.pixels - pixels).flatten(1).norm(dim=1)
    assert sizes[1] == 0 and (0 < sizes[[0, 2]]).all() and (sizes < 3).all()  # noise itself is about 11 away


def test_it_comes_nearer_than_foolbox_with_as_many_queries(tiny_models):
    foolbox = pytest.importorskip("foolbox")
    from foolbox.attacks import HopSkipJumpAttack

    model, queries, found = tiny_models["one_channel"], 500, []
    state, numpy_state = torch.get_rng_state(), np.random.get_state()
    torch.manual_seed(0)
    for seed in range(5):
        pixels = random_sample(model, seed).pixels
        asked, sizes, classes = [0], [], model.logits(pixels).argmax(1)

        class Counted(InPixelSpace):
            def __init__(self):
                super().__init__(model)
                self.forward = self.count

            def count(self, pictures):
                asked[0] += len(pictures)
                return model.logits(pictures)

        class Watched(HopSkipJumpAttack):
            def _binary_search(self, *arguments):
                found = super()._binary_search(*arguments)
                sizes.extend([float((found.raw - pixels).norm())] if asked[0] <= queries else [])
                return found

        Watched(steps=4).run(foolbox.PyTorchModel(Counted(), bounds=(0, 1)), pixels, foolbox.criteria.Misclassification(classes))
        assert asked[0] > queries  # so that it has had all of them
        ours = attack_pixels(techniques.find("hop_skip_jump"), model, pixels, Goal(classes, False), Run(), queries=queries)
        assert ours.reached and ours.forward <= queries
        found.append((float((ours.pixels - pixels).norm()), min(sizes)))
    torch.set_rng_state(state)
    np.random.set_state(numpy_state)
    assert np.median([ours for ours, _ in found]) < np.median([theirs for _, theirs in found])
