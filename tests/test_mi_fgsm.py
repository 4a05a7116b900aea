"""MI-FGSM: a peer library, a plain second implementation in l2, I-FGSM as its case without memory, a linear model."""

from __future__ import annotations

import numpy as np
import pytest
from torch.nn import functional

import techniques
from techniques.base import TECHNIQUES, execute
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample


def mi_fgsm(sample, model, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["mi_fgsm"], sample, model, settings)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_torchattacks_gives_the_same_pixels(tiny_models, decay):
    torchattacks = pytest.importorskip("torchattacks")
    model = tiny_models["cnn"]
    sample = random_sample(model)
    peer = torchattacks.MIFGSM(InPixelSpace(model), eps=8 / 255, alpha=0.8 / 255, steps=10, decay=decay)
    expected = peer(sample.pixels, model.logits(sample.pixels).argmax(1))[0].numpy()
    found = mi_fgsm(sample, model, epsilon=8.0, decay=decay).adversarial.values
    np.testing.assert_allclose(found, expected, rtol=0, atol=6.1e-7)  # ten roundings of floats below 1


def test_a_plain_loop_gives_the_same_pixels_in_l2(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    pixels, momentum, label = sample.pixels.clone(), 0.0, model.logits(sample.pixels).argmax(1)
    for _ in range(10):
        pixels = pixels.detach().requires_grad_(True)
        functional.cross_entropy(model.logits(pixels), label).backward()
        momentum = momentum + pixels.grad / pixels.grad.abs().sum()
        pixels = (pixels.detach() + 0.8 / 255 * (3 * 32 * 32) ** 0.5 * momentum / momentum.norm()).clamp(0, 1)
    found = mi_fgsm(sample, model, epsilon=8.0, norm="l2").adversarial.values
    np.testing.assert_allclose(found, pixels[0].numpy(), rtol=0, atol=2e-6)  # ten steps of float32, divided in another order


def test_without_memory_it_is_i_fgsm(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    without = mi_fgsm(sample, model, decay=0.0, steps=8).adversarial.values
    plain = execute(TECHNIQUES["i_fgsm"], sample, model, {"steps": 8, "step_size": 0.125}).adversarial.values
    np.testing.assert_allclose(without, plain, rtol=0, atol=6.1e-8)  # epsilon is divided by 8 before or after it is made a share of 255


def test_on_a_linear_model_it_ends_in_the_corner_of_the_ball():
    expected = 0.5 - 4 / 255 * linear_weights().sign().numpy().reshape(1, 4, 4)
    np.testing.assert_allclose(mi_fgsm(grey(), linear_model()).adversarial.values, expected, rtol=0, atol=3e-7)  # ten roundings near 0.5


def test_the_memory_is_of_directions_so_the_scale_of_the_logits_does_not_matter():
    small, large = (mi_fgsm(grey(), linear_model(scale), loss="margin").adversarial.values for scale in (1e-25, 1e25))
    assert np.array_equal(small, large) and np.abs(small - 0.5).min() > 0
