"""DeepFool: closed forms on a linear model, foolbox's steps, the border at the end, bounds, real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from techniques.base import TECHNIQUES, Run, execute
from techniques.base.attacks import Goal, Iterate, Task, attack_pixels
from tests.attack_cases import InPixelSpace, grey, linear_model, linear_weights, random_sample, squeezenet_and_photographs


def deep_fool(sample, model, **settings):
    techniques.catalogue()
    return execute(TECHNIQUES["deep_fool"], sample, model, settings)


def foolbox_on(model, norm):
    foolbox = pytest.importorskip("foolbox")
    kind = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}[norm]
    return kind(), foolbox.PyTorchModel(InPixelSpace(model), bounds=(0, 1), device="cpu")


def margin(sample) -> float:
    """Of "on" over "off" in the linear model."""
    return float(linear_weights() @ sample.pixels.flatten()) + 1


def test_on_a_linear_model_the_change_in_l2_is_the_way_straight_to_the_border():
    change = deep_fool(grey(), linear_model()).perturbation.values.ravel()
    weights = linear_weights().numpy()
    expected = -margin(grey()) / (weights @ weights) * weights
    np.testing.assert_allclose(change, expected, rtol=2e-3)  # ten halvings find the border to a thousandth, and 1e-4 is added
    assert 1 <= np.linalg.norm(change) / np.linalg.norm(expected) < 1.002


def test_on_a_linear_model_the_change_in_linf_moves_every_pixel_alike():
    answer = deep_fool(grey(), linear_model(), norm="linf")
    expected = -margin(grey()) / float(linear_weights().abs().sum()) * linear_weights().sign().numpy()
    np.testing.assert_allclose(answer.perturbation.values.ravel(), expected, rtol=3e-3)  # ditto; 1e-4 is a larger part of it
    assert answer.measures.rows[0][8:] == (2, 2 + 10, 1, 1)  # to the border and beyond, then the halvings


def test_it_says_that_it_looks_for_the_smallest_change_in_the_norm_that_is_chosen():
    techniques.catalogue()
    assert TECHNIQUES["deep_fool"].assumes.endswith("It looks for the smallest change: in the norm that is chosen.")


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_it_goes_foolboxs_way_and_stops_on_the_border(tiny_models, name, norm):
    model = tiny_models[name]
    pixels = torch.cat([random_sample(model, seed).pixels for seed in range(8)])
    label = model.logits(pixels).argmax(1)
    peer, view = foolbox_on(model, norm)
    theirs = peer(view, pixels.clone(), label, epsilons=None)[0].detach() - pixels
    ours = attack_pixels(techniques.find("deep_fool"), model, pixels, Goal(label, targeted=False), Run(), norm=norm)
    change = ours.pixels - pixels
    likeness = torch.nn.functional.cosine_similarity(change.flatten(1), theirs.flatten(1))
    assert ours.reached.all() and likeness.min() > 0.9999  # the same steps, rounded differently; only the length is another
    order = 2 if norm == "l2" else torch.inf
    lengths = [each.flatten(1).norm(order, dim=1) for each in (change, theirs)]
    assert (lengths[0] <= lengths[1] * (1 + 1e-3)).all()


def test_just_before_the_end_of_the_way_the_answer_is_still_the_old_one(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    answer = deep_fool(sample, model)
    change = torch.from_numpy(answer.perturbation.values)
    before, after = (int(model.logits(sample.pixels + share * change).argmax()) for share in (0.997, 1))
    assert before == int(model.logits(sample.pixels).argmax()) != after


def test_of_two_pictures_only_the_one_that_is_there_is_moved_back(tiny_models):
    task = Task(linear_model(), torch.full((2, 1, 4, 4), 0.5), Goal(torch.tensor([1, 1]), targeted=False), torch.Generator(), Run())
    far = torch.stack([0.5 - 0.4 * linear_weights().sign().view(1, 4, 4), torch.full((1, 4, 4), 0.6)])
    short = task.shortened(Iterate(far, task.logits(far)), halvings=12)
    assert torch.equal(short.pixels[1], far[1])
    share = margin(grey()) / float(linear_weights().abs().sum())
    assert float((short.pixels[0] - 0.5).abs().max()) == pytest.approx(share, rel=1e-3)
    assert torch.equal(short.logits, linear_model().logits(short.pixels))
    assert task.forward == 2 + 12


def test_every_class_of_the_tiny_network_can_be_aimed_at_and_nearer_ones_need_less(tiny_models):
    model = tiny_models["cnn"]
    answers = [deep_fool(random_sample(model), model, target=target) for target in range(model.classes)]
    assert [answer.predictions.top(1, row=1)[0][0] for answer in answers] == list(range(model.classes))
    away = deep_fool(random_sample(model), model)
    lengths = sorted(answer.measures.rows[0][3] for answer in answers)
    assert lengths[0] == 0  # the class it has already
    assert away.measures.rows[0][3] == pytest.approx(lengths[1], rel=0.1)  # the nearest of the others


def test_fewer_classes_cost_fewer_passes(tiny_models):
    model = tiny_models["one_channel"]
    ten, two = (deep_fool(random_sample(model), model, classes=classes).measures.rows[0] for classes in (10, 2))
    assert ten[10] % 9 == 0 and two[10] < ten[10]
    assert ten[3] <= two[3] * 1.01


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_the_scale_of_the_logits_does_not_matter(scale):
    changes = [deep_fool(grey(), linear_model(scale=by)).perturbation.values for by in (1.0, scale)]
    np.testing.assert_allclose(changes[1], changes[0], rtol=1e-5)


def test_a_gradient_of_zero_is_said_and_no_setting_is_recommended_that_there_is_not():
    answer = deep_fool(grey(), linear_model(scale=0.0))
    assert answer.note.text.endswith("The gradient is zero: the attack cannot move; no small change of a pixel moves these logits.")
    assert not answer.perturbation.values.any()


def test_photographs_need_less_than_with_foolbox(shared_folder):
    model, samples = squeezenet_and_photographs(shared_folder)
    pixels = torch.cat([sample.pixels for sample in samples[:3]])
    label = model.logits(pixels).argmax(1)
    peer, view = foolbox_on(model, "l2")
    theirs = peer(view, pixels.clone(), label, epsilons=None)[0].detach()
    ours = attack_pixels(techniques.find("deep_fool"), model, pixels, Goal(label, targeted=False), Run())
    assert ours.reached.all()
    assert ((ours.pixels - pixels).flatten(1).norm(dim=1) <= 1.001 * (theirs - pixels).flatten(1).norm(dim=1)).all()
