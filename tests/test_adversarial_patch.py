"""Patches: where they lie, how large they are, what is learned in a step, and how they are judged."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch

import model_zoo
import techniques
from model_zoo.errors import ParameterError
from techniques.base import Cancelled, Run
from techniques.base.attacks.one_for_all import hold_out
from techniques.base.placing import Placement, anywhere, placed, side_of
from tests.attack_cases import grey, linear_model, random_sample
from ui.samples import digits

SHAPES = pytest.mark.parametrize("shape", ["round", "square"])
BLACK, WHITE = torch.zeros(1, 1, 80, 120), torch.ones(1, 1, 80, 120)


def learned(samples, model, run=None, **settings):
    return techniques.run("adversarial_patch", samples, model, run=run, **settings)


# Where a patch lies


def test_a_square_patch_on_whole_pixels_is_there_pixel_by_pixel():
    picture, patch = torch.rand(2, 3, 10, 20), torch.rand(1, 3, 4, 8)
    found = placed(picture, patch, [Placement(0.5, 0.3, 0.4)], "square")  # rows 3 to 6, columns 2 to 9
    expected = picture.clone()
    expected[..., 3:7, 2:10] = patch
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)  # coordinates are float32


def test_a_quarter_turn_is_counterclockwise_and_keeps_the_patch_as_it_is():
    picture, patch = torch.zeros(1, 3, 12, 12), torch.rand(1, 3, 6, 6)
    found = placed(picture, patch, [Placement(0.5, 0.5, 0.5, 90.0)], "square")
    assert torch.allclose(found[..., 3:9, 3:9], torch.rot90(patch, 1, (2, 3)), rtol=0, atol=1e-5)


@SHAPES
@pytest.mark.parametrize("area", [0.05, 0.2, 0.5])
def test_a_patch_covers_the_share_of_the_picture_that_is_asked_for(shape, area):
    found = placed(BLACK, WHITE, [Placement(0.5, 0.5, side_of(area, shape), 30.0)], shape)
    assert float(found.mean()) == pytest.approx(area, rel=0.04)  # sides are whole pixels, edges half a pixel soft


@SHAPES
def test_a_random_place_is_wholly_inside_the_picture_and_anywhere_in_it(shape):
    generator, found = torch.Generator().manual_seed(0), []
    for _ in range(60):
        place = anywhere(0.1, shape, 180.0, (80, 120), generator)
        found.append(place)
        inside = placed(BLACK, WHITE, [place], shape)
        assert float(inside.mean()) == pytest.approx(0.1, rel=0.06)
    for which in ("down", "across"):
        assert np.ptp([getattr(place, which) for place in found]) > 0.4
    assert max(abs(place.rotation) for place in found) > 150


def test_a_patch_too_large_to_be_moved_lies_in_the_middle():
    assert anywhere(0.9, "square", 0.0, (80, 120), torch.Generator())[:2] != (0.5, 0.5)
    assert anywhere(0.9, "round", 0.0, (80, 120), torch.Generator()) == (0.5, 0.5, 1.0, pytest.approx(0))
    assert side_of(0.78, "round") == pytest.approx(math.sqrt(0.78 * 4 / math.pi))


def test_a_small_patch_is_the_mean_of_its_pixels():
    checked = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    found = placed(torch.zeros(1, 1, 16, 16), checked.float()[None, None], [Placement(0.5, 0.5, 0.25)], "square")
    assert torch.allclose(found[..., 6:10, 6:10], torch.tensor(0.5), rtol=0, atol=0.02)


def test_the_gradient_comes_back_to_the_patch_with_the_weight_of_what_it_covers():
    patch = torch.rand(1, 3, 16, 16, requires_grad=True)
    places = [Placement(0.4, 0.5, 0.5, 20.0), Placement(0.6, 0.5, 0.5, -70.0)]
    placed(torch.rand(2, 3, 32, 32), patch, places, "round").sum().backward()
    assert float(patch.grad.sum()) == pytest.approx(2 * 3 * math.pi / 4 * 16**2, rel=0.02)
    assert float(patch.grad[..., 0, 0].abs().max()) == 0  # a corner lies outside a round patch


# What is learned


def test_the_first_step_follows_the_gradient_of_the_mean_over_random_places(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(3)]
    found = learned(samples, model, target=2, steps=1, smallest=10, largest=30, held_out=0, seed=6).patch.values
    generator = torch.Generator().manual_seed(6)
    order, _ = hold_out(samples, 0, generator)
    torch.rand(1, 3, 32, 32, generator=generator)  # the patch of noise
    positions = [order[number] for number in torch.randint(3, (8,), generator=generator)]
    area = 0.1 + 0.2 * float(torch.rand((), generator=generator))
    places = [anywhere(area, "round", 20, (32, 32), generator) for _ in positions]
    patch = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    pictures = torch.cat([placed(samples[position].pixels, patch, [place], "round") for position, place in zip(positions, places)])
    torch.nn.functional.cross_entropy(model.logits(pictures), torch.full((8,), 2)).backward()
    expected = (0.5 - 0.05 * patch.grad.sign())[0].detach().numpy()
    assert (np.abs(found - expected) < 1e-6).mean() > 0.999  # sums in another order may turn the sign of what is nearly zero
    assert (found[:, 0, 0] == 0.5).all()  # outside of the outline nothing is learned


def test_success_is_that_of_the_patch_shown_on_pictures_that_were_of_another_class(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(12)]
    pixels = torch.cat([sample.pixels for sample in samples])
    others = model.logits(pixels).argmax(1) != 0
    answer = learned(samples, model, target=0, held_out=0, seed=3, steps=20)
    for line, patch in (("the patch", answer.patch.values), ("a patch of noise", None)):
        if patch is None:
            generator = torch.Generator().manual_seed(3)
            hold_out(samples, 0, generator)
            patch = torch.rand(1, 3, 32, 32, generator=generator)[0]
        generator = torch.Generator().manual_seed(3)
        places = [anywhere(0.1, "round", 20, (32, 32), generator) for _ in range(int(others.sum()))]
        said = model.logits(placed(pixels[others], torch.as_tensor(patch)[None], places, "round")).argmax(1)
        assert answer.success.lines[line][2] == pytest.approx(float((said == 0).float().mean()))
    assert answer.success.x.tolist() == pytest.approx([2, 5, 10, 20, 35])
    assert f"of {int(others.sum())} pictures in the set" in answer.note.text


def test_without_a_target_the_second_most_probable_class_over_the_set_is_aimed_at(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(4)]
    second = int(model.logits(torch.cat([sample.pixels for sample in samples])).mean(0).argsort(descending=True)[1])
    answer = learned(samples, model, steps=2)
    assert answer.patch.label == f"Patch for “{model.label(second)}”, round" and model.label(second) in answer.training.lines


def test_where_every_picture_is_of_the_class_there_is_nothing_to_do(tiny_models):
    model = tiny_models["cnn"]
    label = int(model.logits(random_sample(model).pixels).argmax())
    with pytest.raises(ParameterError, match=f"^Every picture is answered as “{model.label(label)}” already. Choose another class"):
        learned([random_sample(model)], model, target=label)


def test_what_is_held_out_is_never_learned_from(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(10)]
    first = learned(samples, model, target=0, held_out=30, steps=5, seed=4)
    for position in hold_out(samples, 30, torch.Generator().manual_seed(4))[1]:
        samples[position] = random_sample(model, 100 + position)
    assert np.array_equal(learned(samples, model, target=0, held_out=30, steps=5, seed=4).patch.values, first.patch.values)


def test_a_zero_gradient_is_said_and_the_patch_stays_grey():
    answer = learned([grey(0.5)], linear_model(scale=0.0), target="on")
    assert answer.note.text.endswith("The gradient is zero: the patch cannot move; nothing on these pictures moves the class.")
    assert (answer.patch.values == 0.5).all()


def test_of_a_long_run_some_frames_are_kept_evenly_with_the_curve_beside_them(tiny_models):
    model = tiny_models["one_channel"]
    answer = learned([random_sample(model)], model, steps=130)
    steps = answer.training.x.tolist()
    assert steps == [*range(0, 130, 4), 130] and len(answer.replay.frames) == len(answer.replay.names) == len(steps)
    assert (answer.replay.frames[0] == 0.5).all() and np.array_equal(answer.replay.frames[-1], answer.patch.values)


def test_a_preview_comes_after_the_first_step_and_stop_is_heard(tiny_models):
    shown, stop = [], threading.Event()

    def show(answer) -> None:
        shown.append(answer)
        stop.set()

    with pytest.raises(Cancelled):
        learned([random_sample(tiny_models["cnn"])], tiny_models["cnn"], run=Run(show=show, stop=stop))
    assert len(shown) == 1 and shown[0].success is None and np.ptp(shown[0].patch.values) > 0


def test_digits_with_the_patch_are_read_as_the_class_and_with_noise_they_are_not():
    model = model_zoo.load("bundled/digits")
    answer = learned([digit.path for digit in digits()], model, target=3, held_out=30, smallest=10, largest=40)
    assert answer.success.lines["the patch"][-1] >= 0.6 and answer.success.lines["a patch of noise"][-1] <= 0.2
