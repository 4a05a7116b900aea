"""A head whose outputs are yes/no questions of their own: each label and its opposite, read through a sigmoid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import techniques
from model_zoo.loaded import LoadedModel, wrap
from techniques.base import Predictions, Sample
from techniques.base.attacks import Goal
from tests.tiny_models import LABELS


@pytest.fixture(scope="module")
def model(tiny_models) -> LoadedModel:
    return tiny_models["several_labels"]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample.from_pixels(torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1)), "noise")


def test_each_label_has_an_opposite(model):
    assert model.labels == (*LABELS, *(f"not {label}" for label in LABELS))
    assert model.find_label("not church") == len(LABELS) + 1


def test_the_probability_of_a_label_is_the_sigmoid_of_its_output(model, tiny_models, sample):
    outputs = tiny_models["cnn"].logits(sample.pixels)  # the same network, one of whose classes is right
    shares = model.probabilities(sample.pixels)
    assert torch.allclose(shares[:, :5], outputs.sigmoid(), atol=1e-6)  # float32
    assert torch.allclose(shares[:, 5:], 1 - outputs.sigmoid(), atol=1e-6)


def test_what_is_predicted_is_never_an_opposite(model):
    logits = torch.tensor([[-4.0, -3, -2, -1, -5, 4, 3, 2, 1, 5]])
    assert model.predicted(logits).tolist() == [3]


def test_the_chart_and_the_list_leave_opposites_out(model):
    logits = np.array([[-4.0, -3, -2, -1, -5, 4, 3, 2, 1, 5]])
    top = Predictions.of(model, logits).top(10)
    assert [label for _, label, _ in top] == ["gas pump", "golf ball", "church", "tench", "parachute"]
    assert top[0][2] == pytest.approx(1 / (1 + np.exp(2)))  # logits z/2 and -z/2 with z = -2


def test_an_attack_on_a_label_sees_its_opposite_alone():
    logits = torch.tensor([[1.0, 9, -1, -9]])  # the second label is sure and does not matter
    goal = Goal(torch.tensor([0]), targeted=True, multi_label=True)
    assert goal.gain(logits).item() == pytest.approx(float(torch.tensor(2.0).sigmoid().log()))
    assert goal.reached(logits).tolist() == [True]
    assert Goal(torch.tensor([2]), targeted=True, multi_label=True).reached(logits).tolist() == [False]


@pytest.mark.parametrize("target", ["not gas pump", "church"])
def test_an_attack_can_aim_at_a_label_and_at_its_opposite(model, sample, target):
    answer = techniques.run("pgd", sample, model, target=target, epsilon=32, steps=20)
    before, after, _ = answer.predictions.probabilities[:, model.find_label(target)]
    assert after > before


def test_untargeted_an_attack_makes_the_label_its_opposite(model, sample):
    probabilities = model.probabilities(sample.pixels)[0]
    answer = techniques.run("pgd", sample, model, epsilon=64, steps=40)
    label = int(probabilities[:5].argmax())
    assert probabilities[label] > 0.5 > answer.predictions.probabilities[1, label]
    assert f"became “not {LABELS[label]}”" in answer.note.text


def test_both_directions_of_a_label_have_opposite_gradients(model, sample):
    towards = techniques.run("input_x_gradient", sample, model, target="church").input_x_gradient.values
    away = techniques.run("input_x_gradient", sample, model, target="not church").input_x_gradient.values
    assert np.allclose(towards, -away, atol=1e-6) and towards.any()


def test_a_single_output_is_two_classes_in_either_reading(tiny_models):
    network = tiny_models["single_logit"].network
    model = wrap(network, key="one", preprocessing=tiny_models["single_logit"].preprocessing, multi_label=True)
    assert model.labels == ("no", "yes") and not model.multi_label
