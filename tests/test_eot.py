"""EOT: PGD where nothing is transformed, the mean of gradients taken one by one, and what survives on real pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import model_zoo
import techniques
from techniques.base import Run
from techniques.base.attacks import Goal, attack_pixels
from techniques.base.transformations import Reach, transformed
from tests.attack_cases import grey, linear_model, linear_weights, random_sample
from ui.samples import sample as sample_picture

STILL = {"rotation": 0.0, "shift": 0.0, "scale": 0.0, "brightness": 0.0, "noise": 0.0, "blur": 0.0}


def test_a_single_version_is_pgd_from_the_picture(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    found = techniques.run("eot", sample, model, epsilon=4.0, samples=1, steps=5)
    expected = techniques.run("pgd", sample, model, epsilon=4.0, steps=5, step_size=0.2, random_start=False, shrinking=False, loss="cross-entropy")
    assert np.array_equal(found.adversarial.values, expected.adversarial.values)


def test_on_a_linear_model_without_transformations_it_ends_in_the_corner_of_the_ball():
    found = techniques.run("eot", grey(), linear_model(), epsilon=8.0, **STILL).adversarial.values
    np.testing.assert_allclose(found, 0.5 - 8 / 255 * linear_weights().sign().numpy().reshape(1, 4, 4), rtol=0, atol=1e-7)


def test_the_step_follows_the_mean_of_the_gradients_of_all_versions(tiny_models):
    """In l2 and within the ball the change is the direction itself."""
    model, sample = tiny_models["cnn"], random_sample(tiny_models["cnn"])
    reach, seed = {"rotation": 20.0, "shift": 10.0, "scale": 20.0, "brightness": 10.0, "noise": 8.0, "blur": 1.0}, 5
    found = techniques.run("eot", sample, model, epsilon=1.0, norm="l2", steps=1, step_size=1.0, samples=4, seed=seed, **reach)
    generator = torch.Generator().manual_seed(seed)
    torch.randn(sample.pixels.shape, generator=generator)  # the white noise of the report is drawn first
    label, total = model.logits(sample.pixels).argmax(1), torch.zeros_like(sample.pixels)
    for number in range(4):
        leaf = sample.pixels.clone().requires_grad_(True)
        seen = transformed(leaf, Reach(0.1, 0.2, 20.0, 0.1, 8 / 255, 1.0), generator) if number else leaf
        torch.nn.functional.cross_entropy(model.logits(seen), label).backward()
        total += leaf.grad
    step = total / total.norm() * (1 / 255) * (3 * 32 * 32) ** 0.5
    expected = (sample.pixels + step).clamp(0, 1)[0].numpy()
    np.testing.assert_allclose(found.adversarial.values, expected, rtol=0, atol=1e-6)  # sums in another order


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_picture_stays_in_the_ball_and_passes_are_counted(tiny_model, norm):
    sample = random_sample(tiny_model)
    answer = techniques.run("eot", sample, tiny_model, epsilon=16.0, norm=norm, steps=3, samples=5)
    change = (answer.adversarial.values - sample.pixels[0].numpy()).astype(np.float64)
    assert (np.abs(change).max() if norm == "linf" else np.sqrt((change**2).mean())) <= 16 / 255 + 1e-7  # float32 pixels
    assert answer.measures.rows[0][8:11] == (3, 3 * 5 + 1, 3 * 5)


def test_each_picture_of_a_batch_is_attacked_away_from_its_own_class(tiny_models):
    model = tiny_models["cnn"]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in (1, 2, 3)])
    start = model.logits(pixels).detach()
    goal = Goal(torch.tensor([0, 1, 2]), targeted=True)
    outcome = attack_pixels(techniques.find("eot"), model, pixels, goal, Run(), epsilon=8.0, samples=3)
    assert (goal.gain(outcome.logits) > goal.gain(start) + 0.5).all()  # nats


def test_it_outlives_cropping_and_blurring_where_pgd_does_not():
    model, church = model_zoo.load("bundled/imagenette"), sample_picture("church").path
    survived = {}
    for name, settings in {"pgd": {}, "eot": {"samples": 5}}.items():
        answer = techniques.run(name, church, model, target="golf ball", epsilon=8.0, **settings)
        survived[name] = {row[0]: row[3] for row in answer.survival.rows}
        assert survived[name]["as it is"] == 1
    for version in ("cropped by 5 % on each side", "blurred by 1 pixel"):
        assert (survived["pgd"][version], survived["eot"][version]) == (0, 1)
