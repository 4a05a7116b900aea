"""Square: the corner of a linear model, the paper's schedule, the bumps of a peer, what is asked and what is kept, success and queries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, Task, attack_pixels
from techniques.square import _bump, _hill, _side, square
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample


def attacked(sample, model, run=None, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["square"], sample, model, settings, run)


def test_on_a_linear_model_it_ends_in_the_corner_of_the_ball():
    answer = attacked(grey(), linear_model(), epsilon=8.0)
    expected = 0.5 - 8 / 255 * linear_weights().sign().numpy().reshape(1, 4, 4)
    np.testing.assert_allclose(answer.adversarial.values, expected, rtol=0, atol=1e-7)  # one rounding of a float near 0.5
    assert answer.measures.rows[0][9] == 500 and answer.measures.rows[0][-1] == 0


def test_in_l2_on_a_linear_model_it_comes_nearer_to_the_steepest_change_than_luck_and_never_past_it():
    falls = []
    for name in ("square", "random_search"):
        logits = execute(TECHNIQUES[name], grey(), linear_model(), {"epsilon": 8.0, "norm": "l2", "queries": 500}).predictions.logits
        falls.append((logits[0, 1] - logits[0, 0]) - (logits[1, 1] - logits[1, 0]))
    steepest = 8 / 255 * 4 * float(linear_weights().norm())  # sqrt(1 * 4 * 4) is 4
    assert max(0.8 * steepest, falls[1]) < falls[0] < steepest * (1 + 1e-5)  # windows of 3 pixels make no change of single ones


def test_the_squares_shrink_as_in_the_paper():
    pixels = torch.zeros(1, 3, 224, 224)
    shares = [(_side(0.05, (query - 0.5) / 10_000, pixels), _side(0.05, (query + 0.5) / 10_000, pixels)) for query in (10, 50, 200, 1000)]
    assert shares == [(50, 35), (35, 25), (25, 18), (18, 13)]  # sqrt(p * 224 * 224) for p = 0.05 and its halves, rounded
    assert _side(0.05, 0.9, pixels) == 3 and _side(0.01, 0.9, torch.zeros(1, 1, 4, 4)) == 1 and _side(1.0, 0.0, torch.zeros(1, 1, 4, 6)) == 4


def test_the_bumps_are_those_of_torchattacks():
    torchattacks = pytest.importorskip("torchattacks")
    peer = torchattacks.Square(torch.nn.Linear(1, 1))
    peer.device = "cpu"
    for height, width in ((1, 3), (3, 7), (10, 21), (15, 8)):
        torch.testing.assert_close(_hill(height, width), peer.eta_rectangles(height, width), rtol=1e-5, atol=1e-6)


def test_a_bump_has_two_halves_of_opposite_sign_and_length_1_in_each_channel():
    bump = _bump(9, torch.zeros(3, 20, 20), torch.Generator().manual_seed(0))
    torch.testing.assert_close(bump.square().sum((1, 2)), torch.ones(3))
    for channel in bump:
        (half, other) = (channel[:4], channel[4:]) if channel[0, 0].sign() == channel[0, -1].sign() else (channel[:, :4], channel[:, 4:])
        assert {float(half.sign().unique()), float(other.sign().unique())} == {-1.0, 1.0}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_picture_asked_about_is_new_and_stays_in_the_ball(tiny_model, norm):
    sample, seen = random_sample(tiny_model), []
    task = Task(tiny_model, sample.pixels, Goal(tiny_model.logits(sample.pixels).argmax(1), False, "margin"), torch.Generator(), Run())
    logits = task.logits
    task.logits = lambda pixels: seen.append(pixels) or logits(pixels)
    with torch.no_grad():
        for iterate in square(task, epsilon=3.0, norm=norm, queries=60):
            pass
    changes = torch.cat(seen) - sample.pixels
    sizes = changes.abs().amax((1, 2, 3)) if norm == "linf" else changes.square().mean((1, 2, 3)).sqrt()
    assert sizes.max() <= 3 / 255 + 1e-7 and 0 <= min(map(torch.min, seen)) and max(map(torch.max, seen)) <= 1  # float32 pixels
    assert len(seen) == task.forward == 60 or task.goal.reached(iterate.logits)
    assert not any(torch.equal(first, second) for first, second in zip(seen, seen[1:]))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_is_kept_never_comes_farther_from_the_goal_and_a_batch_ends_picture_by_picture(tiny_models, norm):
    model = tiny_models["one_channel"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(6)])
    task = Task(model, pixels, Goal(model.logits(pixels).argmax(1), False, "margin"), torch.Generator().manual_seed(1), Run())
    with torch.no_grad():
        iterates = list(square(task, epsilon=3.0, norm=norm, queries=200))
    gains = torch.stack([task.goal.margin(iterate.logits) for iterate in iterates])
    assert (gains.diff(dim=0) >= 0).all()
    ended = gains[:-1] > 0
    assert (gains.diff(dim=0)[ended] == 0).all() and ended.any()
    assert len(pixels) < task.forward < 200 * len(pixels)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_succeeds_as_often_as_torchattacks_with_as_many_queries(tiny_models, norm):
    torchattacks = pytest.importorskip("torchattacks")
    model = tiny_models["one_channel"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(16)])
    classes = model.logits(pixels).argmax(1)
    settings = {"epsilon": 3.0, "norm": norm, "queries": 60, "share": 0.3}
    ours = attack_pixels(techniques.find("square"), model, pixels, Goal(classes, False, "margin"), Run(), **settings)
    radius = 3 / 255 * (1 if norm == "linf" else 28)
    peer = torchattacks.Square(InPixelSpace(model), norm=norm.capitalize(), eps=radius, n_queries=59, p_init=0.3, seed=0)
    state = torch.get_rng_state()
    theirs = torch.cat([peer(picture[None], label[None]) for picture, label in zip(pixels, classes)])
    torch.set_rng_state(state)
    fooled, by_them = int(ours.reached.sum()), int((model.logits(theirs).argmax(1) != classes).sum())
    assert 3 < by_them < 16 and fooled >= by_them - 2  # both draw at random; two of 16 pictures are within the spread of seeds


def test_a_target_is_reached_and_both_losses_climb(tiny_models):
    model = tiny_models["cnn"]
    for loss in ("margin", "cross-entropy"):
        answer = attacked(random_sample(model), model, target=3, epsilon=48.0, loss=loss)
        assert answer.measures.rows[0][-1] == 1 and answer.predictions.top(1, row=1)[0][0] == 3
        assert answer.measures.rows[0][9] <= 500 and answer.measures.rows[0][10] == 0
