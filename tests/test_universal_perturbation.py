"""The universal perturbation: corners of a linear model, a plain second implementation, what is held out, and the digits."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import model_zoo
import techniques
from techniques.base import Cancelled, Run, Sample, Samples
from techniques.base.attacks.one_for_all import counted, hold_out, logits_of
from tests.attack_cases import grey, linear_model, linear_weights, random_sample
from ui.samples import digits


def universal(samples, model, run=None, **settings):
    return techniques.run("universal_perturbation", samples, model, run=run, **settings)


def greys(*values: float) -> list[Sample]:
    return [grey(value) for value in values]


def test_on_a_linear_model_it_ends_in_the_corner_of_the_ball_or_along_the_weights():
    samples, weights = greys(0.4, 0.5, 0.6), linear_weights().numpy().reshape(1, 4, 4)
    found = universal(samples, linear_model(), epsilon=8.0).perturbation.values
    np.testing.assert_allclose(found, -8 / 255 * np.sign(weights), rtol=0, atol=1e-7)
    found = universal(samples, linear_model(), epsilon=8.0, norm="l2").perturbation.values
    np.testing.assert_allclose(found, -8 / 255 * 4 * weights / np.linalg.norm(weights), rtol=0, atol=1e-6)  # sqrt(1 * 4 * 4) is 4


def test_a_pixel_that_is_stopped_by_white_has_no_gradient():
    """A white pixel is allowed a first step upwards, as at its border it still has a gradient, and none after that."""
    picture = torch.full((1, 4, 4), 0.5)
    picture[:, :2] = 1.0
    first, later = (
        universal([Sample.from_pixels(picture, "half")], linear_model(), target="on", epsilon=8.0, norm="l2", epochs=epochs, step_size=0.01)
        .perturbation.values for epochs in (1, 2)
    )  # fmt: skip
    up, down = (linear_weights().numpy().reshape(1, 4, 4) * sign > 0 for sign in (1, -1))
    direction = later - first
    stopped, weights = up & (picture.numpy() == 1), np.abs(linear_weights().numpy().reshape(1, 4, 4))
    assert down.any() and stopped.any()
    shares = np.abs(direction) / weights  # the second step gathers 0.9 of the first gradient, which counted everywhere
    assert np.allclose(shares[stopped], shares[stopped][0]) and np.allclose(shares[~stopped], shares[~stopped][0])
    assert shares[stopped][0] < 0.6 * shares[~stopped][0]


def plain(model, pictures, *, epsilon, step, epochs):
    """All pictures in one batch, untargeted, without anything held out."""
    labels, change, gathered = model.logits(pictures).argmax(1), torch.zeros(1, *pictures.shape[1:]), 0
    for _ in range(epochs):
        change.requires_grad_(True)
        losses = torch.nn.functional.cross_entropy(model.logits((pictures + change).clamp(0, 1)), labels, reduction="none")
        (gradient,) = torch.autograd.grad(losses.clamp(max=9).sum(), change)
        gathered = 0.9 * gathered + gradient / gradient.abs().sum()
        change = (change.detach() + step * epsilon * gathered.sign()).clamp(-epsilon, epsilon)
    return change[0].numpy()


def test_a_plain_loop_gives_the_same_perturbation(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(4)]
    found = universal(samples, model, epsilon=8.0, epochs=6, step_size=0.25, held_out=0).perturbation.values
    expected = plain(model, torch.cat([sample.pixels for sample in samples]), epsilon=8 / 255, step=0.25, epochs=6)
    # Sums over pictures in another order may turn the sign of a gradient that is nearly zero.
    assert (np.abs(found - expected) < 1e-6).mean() > 0.999


def test_what_is_held_out_is_chosen_by_the_seed_and_never_learned_from(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(10)]
    learned, held = hold_out(samples, 30, torch.Generator().manual_seed(4))
    assert len(held) == 3 and sorted(learned + held) == list(range(10))
    first = universal(samples, model, held_out=30, seed=4, epochs=2)
    for position in held:
        samples[position] = random_sample(model, 100 + position)
    assert np.array_equal(universal(samples, model, held_out=30, seed=4, epochs=2).perturbation.values, first.perturbation.values)
    assert [row[:2] for row in first.rates.rows] == [("learned from", 7), ("held out", 3)]
    assert set(first.fooling.lines) == {"learned from", "held out", "white noise"} and len(first.fooling.x) == 3


def test_the_rates_are_those_of_the_perturbation_that_is_shown(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(8)]
    answer = universal(samples, model, epsilon=24.0, held_out=0)
    pixels = torch.cat([sample.pixels for sample in samples])
    before, after = (model.logits(each).argmax(1) for each in (pixels, (pixels + torch.tensor(answer.perturbation.values)).clamp(0, 1)))
    assert answer.rates.rows[0][2] == pytest.approx(float((before != after).float().mean())) and answer.rates.rows[0][4] == 0
    assert {row[0]: row[1] for row in answer.answers.rows if row[1]} == {model.label(int(i)): int((after == i).sum()) for i in after.unique()}
    assert np.abs(answer.perturbation.values).max() <= 24 / 255 + 1e-7  # float32


def test_a_single_picture_has_nothing_to_hold_out_and_a_target_is_aimed_at(tiny_models):
    model = tiny_models["cnn"]
    answer = universal([random_sample(model)], model, target=2, epsilon=32.0)
    assert "of the 1 picture learned from are answered as “golf ball”" in answer.note.text and "No picture was held out" in answer.note.text
    assert answer.rates.rows == (("learned from", 1, 1.0, 0.0, 0.0),)
    assert [name.partition(":")[0] for name in answer.examples.names] == ["as it is", "with it", "with white noise"]
    assert answer.examples.items[1].label == "Universal perturbation, epsilon 32/255, on noise"


def test_a_zero_gradient_is_said_and_the_margin_gets_past_it():
    stuck, moved = (universal(greys(0.4, 0.5), linear_model(scale=1e3), loss=loss) for loss in ("cross-entropy", "margin"))
    assert stuck.note.text.endswith("The gradient is zero: the perturbation cannot move; choose the loss “margin”.")
    assert not stuck.perturbation.values.any() and moved.perturbation.values.any()


def test_a_picture_that_is_fooled_enough_takes_no_further_step():
    model = linear_model(scale=20.0)
    answer = universal([grey(0.5)], model, loss="margin", epsilon=64.0, epochs=100, step_size=0.02)
    logits = model.logits(torch.tensor(0.5 + answer.perturbation.values)[None])[0]
    step = 0.02 * 64 / 255 * 20 * float(linear_weights().abs().sum())
    assert 9 < float(logits[0] - logits[1]) < 9 + step  # in the corner of the ball it would be past 50


def test_previews_come_before_the_first_epoch_is_over_and_stop_is_heard(tiny_models):
    model, shown, stop = tiny_models["cnn"], [], threading.Event()
    samples = [random_sample(model, seed) for seed in range(25)]

    def show(answer) -> None:
        shown.append(answer)
        if len(shown) == 2:
            stop.set()

    with pytest.raises(Cancelled):
        universal(samples, model, held_out=0, run=Run(show=show, stop=stop))
    assert len(shown) == 2 and shown[0].rates is None and len(shown[0].fooling.x) == 1 and shown[0].perturbation.values.any()


def test_a_set_of_any_size_is_looked_at_in_batches_and_answers_are_counted(tiny_models):
    model = tiny_models["cnn"]
    samples = Samples(tuple(random_sample(model, seed) for seed in range(35)))
    plain, dark = logits_of(samples, model, Run(), lambda pixels: pixels, lambda pixels: 0 * pixels)
    assert torch.allclose(plain, model.logits(samples.pixels), rtol=0, atol=1e-5) and len(dark) == 35  # a batch may round differently
    table = counted(model, {"dark": dark, "as they are": plain})
    assert table.rows[0][1] == 35 and sum(row[2] for row in table.rows) == 35


def test_most_digits_fall_for_one_pattern_and_hardly_any_for_noise():
    model = model_zoo.load("bundled/digits")
    answer = universal([digit.path for digit in digits()], model, epsilon=40.0, norm="l2", held_out=30)
    learned, held = answer.rates.rows
    assert learned[2] >= 0.8 and held[2] >= 0.6 and learned[3] == held[3] == 0
