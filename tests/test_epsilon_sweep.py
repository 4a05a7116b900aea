"""The sweep over epsilon: closed forms on a linear model, what counts as right, layers by hand, several models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import model_zoo
import techniques
from model_zoo.loaded import wrap
from model_zoo.preprocessing import Preprocessing
from techniques.base import IncompatibleModel, Run, Sample
from techniques.base.activations import relative_changes
from techniques.base.attacks.sets import is_right, right_classes
from tests.attack_cases import grey, linear_model, linear_weights, random_sample
from ui.samples import sample as sample_picture


def sweep(model, *samples, **settings):
    return techniques.run("epsilon_sweep", list(samples), model, **settings)


# On a linear model: the margin of a flat grey is 0.5 * sum(w) + 1, and FGSM takes epsilon / 255 * |w| from it.

TURNS = 255 * float((0.5 * linear_weights().sum() + 1) / linear_weights().abs().sum())


@pytest.mark.parametrize("precision", [0.05, 1.0, 8.0])
def test_the_smallest_epsilon_is_where_the_margin_of_a_linear_model_is_used_up(precision):
    answer = sweep(linear_model(), grey(), largest=64, points=3, precision=precision)
    ((_, _, label, smallest, says),) = answer.smallest_epsilon.rows
    assert (label, says) == ("on", "off") and TURNS <= smallest <= TURNS + precision
    low = np.searchsorted(answer.histogram.edges, smallest, side="right") - 1
    assert answer.histogram.counts["tiny/linear"].tolist() == [int(place == low) for place in range(16)]


def test_accuracy_and_probability_fall_as_the_margin_of_a_linear_model_does():
    answer = sweep(linear_model(), grey(), largest=64, points=9)
    margins = (0.5 * linear_weights().sum() + 1 - answer.accuracy.x / 255 * float(linear_weights().abs().sum())).numpy()
    assert answer.accuracy.x.tolist() == [0, 8, 16, 24, 32, 40, 48, 56, 64]
    assert answer.accuracy.lines["FGSM"].tolist() == (margins > 0).tolist()
    np.testing.assert_allclose(answer.confidence.lines["FGSM"], 1 / (1 + np.exp(-margins)), atol=1e-5)  # float32 logits
    assert answer.accuracy.lines["white noise"].min() == 1


def test_a_picture_that_withstands_every_epsilon_is_said_to():
    answer = sweep(linear_model(), grey(), largest=8)
    assert answer.smallest_epsilon.rows[0][3:] == ("none up to 8", "") and answer.histogram is None
    assert "100.0 % when attacked at epsilon 8/255" in answer.note.text and "turns" not in answer.note.text


# What is right


def test_the_right_class_is_the_group_where_the_model_knows_it_and_else_the_predicted_one(tiny_model):
    logits = torch.randn(3, tiny_model.classes, generator=torch.Generator().manual_seed(0))
    predicted = tiny_model.predicted(logits)
    right = right_classes(tiny_model, [tiny_model.label(0), "no such kind", ""], logits)
    assert right.tolist() == [0, *predicted[1:].tolist()]
    opposites = (predicted + tiny_model.named) % tiny_model.classes  # of several labels, each competes with its own
    beaten = logits.gather(1, predicted[:, None]) >= logits.gather(1, opposites[:, None])
    assert is_right(tiny_model, predicted, logits).tolist() == (beaten[:, 0].tolist() if tiny_model.multi_label else [True] * 3)


def test_a_picture_of_another_group_than_is_answered_is_wrong_from_the_start_and_stays_so(tiny_models):
    model = tiny_models["cnn"]
    samples = [random_sample(model, seed) for seed in range(3)]
    predicted = [int(model.predicted(model.logits(sample.pixels))) for sample in samples]
    wrong = replace(samples[0], group=model.label((predicted[0] + 1) % model.classes))
    answer = sweep(model, wrong, samples[1], samples[2], largest=0.5, points=2)
    assert answer.accuracy.lines["FGSM"][0] == pytest.approx(2 / 3) and answer.accuracy.lines["FGSM"][1] <= 2 / 3 + 1e-6
    assert answer.smallest_epsilon.rows[0][2:] == (wrong.group, 0.0, model.label(predicted[0]))


# What is shown


def test_the_row_of_pictures_is_what_the_attacks_own_tab_makes_at_each_epsilon(tiny_models):
    model = tiny_models["cnn"]
    sample = random_sample(model)
    answer = sweep(model, sample, method="pgd", largest=4, points=3)
    assert answer.pictures.columns == 3 and len(answer.pictures.items) == 6
    for place, epsilon in ((1, 2.0), (2, 4.0)):
        alone = techniques.run("pgd", sample, model, epsilon=epsilon)
        assert np.array_equal(answer.pictures.items[place].values, alone.adversarial.values)
        says = alone.predictions.top(1, row=1)[0][1]
        assert answer.pictures.names[place] == f"epsilon {epsilon:g}/255: {says}"
        cam = techniques.run("grad_cam", Sample.from_pixels(alone.adversarial.values, "attacked"), model)
        np.testing.assert_allclose(answer.pictures.items[3 + place].values, cam.grad_cam.cell(says).values, atol=1e-6)


def test_a_model_without_places_has_no_maps_below_its_pictures():
    assert len(sweep(linear_model(), grey(), points=2).pictures.items) == 2


def test_how_far_a_layer_is_moved_is_the_distance_of_its_outputs_as_a_share_of_their_length():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
    network[3].weight.data.zero_()
    model = wrap(network, key="two", preprocessing=Preprocessing(3, (2, 2), (0.0,) * 3, (1.0,) * 3))
    before, after = (torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    moved, logits = relative_changes(model, [model.layer("1"), model.layer("3")], before, after)
    first, second = ((picture.flatten(1) @ network[1].weight.T).detach() for picture in (before, after))
    assert moved["1"].tolist() == pytest.approx(((second - first).norm(dim=1) / first.norm(dim=1)).tolist(), rel=1e-5)
    assert moved["3"].tolist() == [0, 0] and logits.shape == (4, 2)  # nothing came of it before, nothing after


def test_an_attack_grows_on_its_way_through_the_layers_and_noise_of_the_same_size_does_not():
    model = model_zoo.load("bundled/imagenette")
    answer = sweep(model, str(sample_picture("golf_ball").path), method="pgd", points=2, largest=4, precision=8.0)
    by_layer = answer.layers.cell("layer by layer")
    assert len(by_layer.ticks) == 5 and by_layer.ticks[-1] == model.layers[-1].name
    attack, noise = (line[-1] / line[0] for line in by_layer.lines.values())
    assert attack > 8 and noise < 1  # measured: 15 and 0.7


def test_other_models_are_attacked_through_their_own_gradient_on_pictures_of_their_own_size(tiny_models, monkeypatch):
    other, model = tiny_models["one_channel"], tiny_models["cnn"]
    monkeypatch.setattr(model_zoo, "load", lambda key: other)
    sample = random_sample(model)
    answer = sweep(model, sample, largest=16, models=("this", "bundled/digits"))
    alone = sweep(other, sample.fit(other), largest=16)
    assert list(answer.accuracy.lines) == [model.title, f"noise: {model.title}", other.title, f"noise: {other.title}"]
    np.testing.assert_allclose(answer.confidence.lines[other.title], alone.confidence.lines["FGSM"], atol=1e-6)
    assert [row[1] for row in answer.smallest_epsilon.rows] == [model.title, other.title]


def test_a_model_that_the_attack_does_not_fit_is_left_out_with_a_sentence(tiny_models, monkeypatch):
    model, fgsm = tiny_models["cnn"], techniques.find("fgsm")
    monkeypatch.setattr(model_zoo, "load", lambda key: tiny_models["one_channel"])
    refuses = replace(fgsm, why_not=lambda model: "it sees no colours." if model.preprocessing.channels == 1 else None)
    monkeypatch.setitem(techniques.TECHNIQUES, "fgsm", refuses)
    answer = sweep(model, random_sample(model), models=("this", "bundled/digits"))
    assert answer.note.text.endswith("Tiny one channel: it sees no colours.") and len(answer.accuracy.lines) == 2
    with pytest.raises(IncompatibleModel, match="^FGSM does not work on Tiny one channel: it sees no colours.$"):
        sweep(tiny_models["one_channel"], random_sample(tiny_models["one_channel"]))


def test_points_of_the_curve_come_one_by_one_and_then_the_smallest_epsilons(tiny_models):
    model, shown = tiny_models["cnn"], []
    sweep(model, random_sample(model), random_sample(model, 2), points=3, run=Run(show=shown.append))
    assert [len(answer.accuracy.x) for answer in shown] == [1, 2, 3, 3, 3]
    assert [len(answer.smallest_epsilon.rows) if answer.smallest_epsilon else 0 for answer in shown] == [0, 0, 0, 1, 2]
