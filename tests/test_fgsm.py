"""FGSM: closed forms on a linear model, a plain second implementation, a peer library, real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Ball
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample, squeezenet_and_photographs


def fgsm(sample, model, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["fgsm"], sample, model, settings)


def test_on_a_linear_model_every_pixel_moves_by_epsilon_against_the_sign_of_its_weight():
    answer = fgsm(grey(), linear_model(), epsilon=8.0)
    expected = 0.5 - 8 / 255 * linear_weights().sign().numpy().reshape(1, 4, 4)
    np.testing.assert_allclose(answer.adversarial.values, expected, rtol=0, atol=1e-7)  # one rounding of a float near 0.5


def test_on_a_linear_model_the_margin_falls_by_epsilon_times_the_l1_norm_of_the_weights():
    logits = fgsm(grey(), linear_model(), epsilon=8.0).predictions.logits
    fall = (logits[0, 1] - logits[0, 0]) - (logits[1, 1] - logits[1, 0])
    assert fall == pytest.approx(8 / 255 * float(linear_weights().abs().sum()), rel=1e-5)


def test_in_l2_the_margin_falls_by_the_radius_times_the_l2_norm_of_the_weights():
    logits = fgsm(grey(), linear_model(), epsilon=8.0, norm="l2").predictions.logits
    fall = (logits[0, 1] - logits[0, 0]) - (logits[1, 1] - logits[1, 0])
    assert fall == pytest.approx(8 / 255 * 4 * float(linear_weights().norm()), rel=1e-5)  # sqrt(1 * 4 * 4) is 4


@pytest.mark.parametrize("target", [None, 3])
def test_a_plain_loop_gives_the_same_pixels_to_the_last_bit(tiny_models, target):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    pixels = sample.pixels.clone().requires_grad_(True)
    logits = model.logits(pixels)
    towards = logits.argmax(1) if target is None else torch.tensor([target])
    functional.cross_entropy(logits, towards).backward()
    step = torch.sign(pixels.grad) * (4 / 255) * (1 if target is None else -1)
    expected = (sample.pixels + step).clamp(0, 1)[0].numpy()
    found = fgsm(sample, model, epsilon=4.0, target=target).adversarial.values
    # The ball is kept by clamping the rounded difference: half a unit in the last place of a float below 1, no more.
    np.testing.assert_allclose(found, expected, rtol=0, atol=6.1e-8)
    assert np.array_equal(np.sign(found - sample.pixels[0].numpy()), np.sign(expected - sample.pixels[0].numpy()))


def test_torchattacks_gives_the_same_pixels(tiny_models):
    torchattacks = pytest.importorskip("torchattacks")
    model = tiny_models["cnn"]
    sample = random_sample(model)
    peer = torchattacks.FGSM(InPixelSpace(model), eps=4 / 255)(sample.pixels, model.logits(sample.pixels).argmax(1))
    np.testing.assert_allclose(fgsm(sample, model, epsilon=4.0).adversarial.values, peer[0].numpy(), rtol=0, atol=6.1e-8)


def test_gradients_far_below_a_millionth_still_move_their_pixels():
    answer = fgsm(grey(), linear_model(scale=1e-12), epsilon=4.0)  # captum leaves such pixels where they are
    np.testing.assert_allclose(np.abs(answer.perturbation.values), 4 / 255, rtol=0, atol=1e-7)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_attack_and_noise_stay_in_the_ball_and_between_black_and_white(tiny_model, norm):
    sample = random_sample(tiny_model)
    answer = fgsm(sample, tiny_model, epsilon=16.0, norm=norm)
    for picture in (answer.adversarial.values, answer.white_noise.values):
        change = (picture - sample.pixels[0].numpy()).astype(np.float64)
        size = np.abs(change).max() if norm == "linf" else np.sqrt((change**2).mean())
        assert size <= 16 / 255 + 1e-7  # float32 pixels
        assert 0.9 * 16 / 255 < size or norm == "l2"  # clipping shortens the l2 change, never all of the linf change
        assert picture.min() >= 0 and picture.max() <= 1


def test_a_uniform_random_start_reaches_all_of_the_linf_ball_but_not_its_corners_only():
    ball = Ball(torch.full((1, 3, 32, 32), 0.5), 51.0, "linf")
    change = (ball.random_start(torch.Generator().manual_seed(0)) - 0.5) / 0.2
    assert change.abs().max() <= 1 + 1e-6
    assert change.std() == pytest.approx(3**-0.5, rel=0.05)  # standard deviation of a uniform number in [-1, 1]


def test_a_zero_gradient_is_said_and_the_margin_gets_past_it():
    sure = linear_model(scale=1e3)
    stuck, moved = fgsm(grey(), sure), fgsm(grey(), sure, loss="margin")
    assert "The gradient is zero: the attack cannot move" in stuck.note.text
    assert np.abs(stuck.perturbation.values).max() == 0
    assert "gradient is zero" not in moved.note.text
    np.testing.assert_allclose(np.abs(moved.perturbation.values), 4 / 255, rtol=0, atol=1e-7)


def test_a_target_becomes_more_probable(tiny_models):
    model = tiny_models["cnn"]
    for target in range(model.classes):
        probabilities = fgsm(random_sample(model), model, target=target, epsilon=4.0).predictions.probabilities
        assert probabilities[1, target] > probabilities[0, target]


def test_both_directions_of_a_single_logit_can_be_aimed_at(tiny_models):
    model = tiny_models["single_logit"]
    for target in (0, 1):
        probabilities = fgsm(random_sample(model), model, target=target).predictions.probabilities
        assert probabilities[1, target] > probabilities[0, target]


def test_epsilon_zero_leaves_the_picture_as_it_is(tiny_models):
    for norm in ("linf", "l2"):
        answer = fgsm(random_sample(tiny_models["cnn"]), tiny_models["cnn"], epsilon=0.0, norm=norm)
        assert np.abs(answer.perturbation.values).max() == 0


def test_the_measures_are_the_norms_of_the_change_and_the_passes_made(tiny_models):
    model = tiny_models["cnn"]
    answer = fgsm(random_sample(model), model, epsilon=4.0)
    for row, picture in zip(answer.measures.rows, (answer.adversarial, answer.white_noise)):
        change = (picture.values - answer.original.values).astype(np.float64).ravel()
        sizes = (np.abs(change).sum(), np.linalg.norm(change), 255 * np.abs(change).max(), 255 * np.sqrt((change**2).mean()))
        assert row[1:6] == pytest.approx((np.count_nonzero(change), *sizes), rel=1e-9)
    assert answer.measures.rows[0][8:11] == (1, 2, 1)


def test_the_note_tells_the_result_in_one_sentence():
    answer = fgsm(grey(), linear_model(), epsilon=64.0, target="off")
    before, after, noise = answer.predictions.probabilities
    assert after[0] > 0.5 > before[0]
    assert answer.note.text == (
        f"“on” {100 * before[1]:.1f} % became “off” {100 * after[0]:.1f} % by moving each pixel at most 64/255; "
        f"white noise of the same size leaves “on” at {100 * noise[1]:.1f} %."
    )
    assert answer.adversarial.label == "FGSM, epsilon 64/255, of grey"


def test_model_pixels_and_global_random_state_are_left_as_they_were(tiny_model):
    sample, state = random_sample(tiny_model), torch.get_rng_state()
    pixels, weights = sample.pixels.clone(), tiny_model.sha256
    TECHNIQUES["fgsm"].function(sample, tiny_model, Run())
    assert torch.equal(sample.pixels, pixels) and sample.pixels.grad is None and not sample.pixels.requires_grad
    assert torch.equal(torch.get_rng_state(), state)
    del tiny_model.__dict__["sha256"]
    assert tiny_model.sha256 == weights
    assert all(p.grad is None and not p.requires_grad for p in tiny_model.network.parameters())


def test_at_four_steps_of_grey_squeezenet_is_fooled_on_nearly_every_photograph_and_hardly_by_noise(shared_folder):
    model, samples = squeezenet_and_photographs(shared_folder)
    answers = [fgsm(sample, model) for sample in samples]
    fooled, by_noise = (sum(answer.measures.rows[row][-1] for answer in answers) for row in (0, 1))
    assert fooled >= len(samples) - 1
    assert by_noise < fooled / 2
