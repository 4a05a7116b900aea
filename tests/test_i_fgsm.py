"""I-FGSM: two peer libraries, the corner of a linear model, FGSM as its one large step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, attack_pixels
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample


def i_fgsm(sample, model, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["i_fgsm"], sample, model, settings)


def torchattacks_bim(model, pixels, label):
    return pytest.importorskip("torchattacks").BIM(InPixelSpace(model), eps=8 / 255, alpha=2 / 255, steps=7)(pixels, label)


def foolbox_bim(model, pixels, label):
    foolbox = pytest.importorskip("foolbox")
    attack = foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=0.25, steps=7, random_start=False)
    return attack(foolbox.PyTorchModel(InPixelSpace(model), bounds=(0, 1), device="cpu"), pixels, label, epsilons=8 / 255)[1]


@pytest.mark.parametrize("peer", [torchattacks_bim, foolbox_bim])
def test_other_libraries_give_the_same_pixels(tiny_models, peer):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    expected = peer(model, sample.pixels.clone(), model.logits(sample.pixels).argmax(1))[0].detach().numpy()
    found = i_fgsm(sample, model, epsilon=8.0, steps=7).adversarial.values
    np.testing.assert_allclose(found, expected, rtol=0, atol=6.1e-7)  # seven roundings of floats below 1


def test_the_defaults_are_the_papers_one_of_255_at_a_time():
    first, last = (i_fgsm(grey(), linear_model(), steps=steps).adversarial.values for steps in (1, 5))
    signs = linear_weights().sign().numpy().reshape(1, 4, 4)
    np.testing.assert_allclose(first, 0.5 - 1 / 255 * signs, rtol=0, atol=1e-7)  # a rounding of a float near 0.5
    np.testing.assert_allclose(last, 0.5 - 4 / 255 * signs, rtol=0, atol=1e-7)


def test_one_whole_step_is_fgsm(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    for norm in ("linf", "l2"):
        one_step = i_fgsm(sample, model, steps=1, step_size=1.0, norm=norm)
        assert np.array_equal(one_step.adversarial.values, execute(TECHNIQUES["fgsm"], sample, model, {"norm": norm}).adversarial.values)


def test_more_steps_go_further_than_one_large_step(tiny_models):
    model = tiny_models["transformer"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(8)])
    goal = Goal(model.logits(pixels).argmax(1), targeted=False)
    small, large = (attack_pixels(techniques.find(name), model, pixels, goal, Run(), epsilon=8.0) for name in ("i_fgsm", "fgsm"))
    assert (goal.gain(small.logits) >= goal.gain(large.logits)).all() and (goal.gain(small.logits) > goal.gain(large.logits)).any()
